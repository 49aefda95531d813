from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, log_loss, precision_recall_fscore_support

from tasks.core.schema import VALUE
from tasks.metrics import classification
from tasks.metrics.answers import predictions_of


def test_scores_are_scikit_learns(scored):
    p, y, _ = scored
    predictions = predictions_of([p], y)
    assert classification.hit_score(predictions.hit_N)[VALUE] == pytest.approx(accuracy_score(y, p.argmax(1)))
    assert classification.macro_f1(p.argmax(1), y, 4) == pytest.approx(f1_score(y, p.argmax(1), average="macro"))
    assert classification.nll_per_image(predictions.likelihood_N).mean() == pytest.approx(log_loss(y, p))
    counts = classification.confusion(p.argmax(1), y, 4)
    assert np.array_equal(counts, confusion_matrix(y, p.argmax(1)))
    theirs = precision_recall_fscore_support(y, p.argmax(1))
    for ours, other in zip(classification.per_class(p.argmax(1), y, 4).values(), theirs, strict=True):
        np.testing.assert_allclose(ours, other)


def test_a_class_that_never_occurs_does_not_count(scored):
    p, y, _ = scored
    assert classification.macro_f1(p.argmax(1), y, 5) == classification.macro_f1(p.argmax(1), y, 4)


def test_the_most_confused_pairs_are_the_largest_cells_beside_the_diagonal(scored):
    p, y, _ = scored
    counts = classification.confusion(p.argmax(1), y, 4)
    np.fill_diagonal(counts, 0)
    pairs = classification.most_confused(p.argmax(1), y, 5)
    assert [count for *_, count in pairs] == sorted(counts.ravel(), reverse=True)[:5]
    assert all(counts[true, predicted] == count for true, predicted, count in pairs)
    assert classification.most_confused(y, y, 5) == []


def test_blocks_of_probabilities_change_no_prediction(scored):
    _, y, logits = scored
    whole = predictions_of([logits.softmax(1).numpy()], y)
    parts = predictions_of((part.softmax(1).numpy() for part in logits.split(7)), y)
    for each in ("predicted_N", "confidence_N", "likelihood_N"):
        np.testing.assert_array_equal(getattr(whole, each), getattr(parts, each))
