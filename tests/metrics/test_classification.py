from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, log_loss, precision_recall_fscore_support

from tasks.metrics import classification


def test_scores_are_scikit_learns(scored):
    p, y, _ = scored
    assert classification.accuracy(p, y) == pytest.approx(accuracy_score(y, p.argmax(1)))
    assert classification.macro_f1(p, y) == pytest.approx(f1_score(y, p.argmax(1), average="macro"))
    assert classification.nll_per_image(p, y).mean() == pytest.approx(log_loss(y, p))
    counts = classification.confusion(p.argmax(1), y, 4)
    assert np.array_equal(counts, confusion_matrix(y, p.argmax(1)))
    theirs = precision_recall_fscore_support(y, p.argmax(1))
    for ours, other in zip(classification.per_class(counts).values(), theirs, strict=True):
        np.testing.assert_allclose(ours, other)


def test_a_class_that_never_occurs_does_not_count(scored):
    p, y, _ = scored
    wider = np.concatenate([p, np.zeros((300, 1))], 1)
    assert classification.macro_f1(wider, y) == classification.macro_f1(p, y)
