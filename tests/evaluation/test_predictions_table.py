from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from flows.registry.kinds import EVALUATED_ANSWERS
from tasks.core.schema import LIKELIEST, Column
from tasks.core.target import TargetKind
from tasks.evaluation.predictions_table import likeliest_columns, read_predictions, with_answers, write_probabilities

IMAGES = 2000


def drawn(classes: int) -> tuple[pd.DataFrame, np.ndarray, list[str]]:
    """Returns images with labels, probabilities of a model that is often right, and the classes."""
    random = np.random.default_rng(0)
    names, y_N = [f"class {number}" for number in range(classes)], random.integers(0, classes, IMAGES)
    logits_NC = random.normal(size=(IMAGES, classes))
    logits_NC[np.arange(IMAGES), y_N] += 5
    probability_NC = np.exp(logits_NC) / np.exp(logits_NC).sum(1, keepdims=True)
    paths = [f"test/{number}.png" for number in range(IMAGES)]
    rows = pd.DataFrame({"path": paths, "label": [names[y] for y in y_N]})
    return rows, probability_NC.astype(np.float32), names


def written(paths, classes: int) -> tuple[pd.DataFrame, np.ndarray, list[str]]:
    rows, probability_NC, names = drawn(classes)
    predicted = [names[number] for number in probability_NC.argmax(1)]
    likelihood_N = probability_NC[np.arange(IMAGES), [names.index(label) for label in rows["label"]]]
    answers = with_answers(rows, predicted, probability_NC.max(1), likelihood_N)
    write_probabilities(paths, answers, np.array_split(probability_NC, 7), names)
    return rows, probability_NC, names


def test_few_classes_are_stored_as_ever(paths):
    _, probability_NC, _ = written(paths, 40)
    table = pd.read_parquet(paths.predictions)
    assert list(table.columns) == ["path", "label", "predicted", "probability", "distribution"]
    np.testing.assert_array_equal(np.stack(table["distribution"]), probability_NC)
    assert not paths.probabilities.exists()
    assert len(read_predictions(paths, 512)) == 500


def test_predictions_of_a_thousand_classes_take_little_space(paths):
    _, probability_NC, names = written(paths, 1000)
    assert paths.predictions.stat().st_size / IMAGES < 80  # bytes an image; 4,000 with all probabilities
    assert paths.probabilities.stat().st_size / IMAGES < 2001
    table = pd.read_parquet(paths.predictions)
    for rank, (name, probability) in enumerate(LIKELIEST):
        order_N = np.argsort(-probability_NC, axis=1, kind="stable")[:, rank]
        assert list(table[name]) == [names[number] for number in order_N]
        np.testing.assert_array_equal(table[probability], probability_NC[np.arange(IMAGES), order_N])
    stored = np.stack(read_predictions(paths, IMAGES)["distribution"])
    np.testing.assert_allclose(stored, probability_NC, atol=2.5e-4)


def test_both_forms_give_the_gate_the_same_answers(paths):
    """Tables of releases before have all probabilities, whatever the number of classes."""
    rows, probability_NC, names = written(paths, 300)
    before = rows.assign(**{Column.DISTRIBUTION: list(probability_NC)})
    answers = [
        EVALUATED_ANSWERS[TargetKind.CLASSIFICATION](table, {"classes": names, "targets": [], "label_thresholds": []})
        for table in (before, pd.read_parquet(paths.predictions))
    ]
    pd.testing.assert_frame_equal(*answers)


def test_labels_of_many_are_read_from_their_names(paths):
    _, probability_NC, names = drawn(41)
    selected_NC = probability_NC > 0.2
    rows = pd.DataFrame({"path": [f"{n}.png" for n in range(IMAGES)], "label": ""})
    predicted = ["|".join(np.array(names)[selected_C]) for selected_C in selected_NC]
    assert "" in predicted
    write_probabilities(paths, with_answers(rows, predicted, probability_NC.max(1)), [probability_NC], names)
    table = pd.read_parquet(paths.predictions)
    assert list(table.columns) == [
        "path",
        "label",
        "predicted",
        "probability",
        *(n for pair in LIKELIEST for n in pair),
    ]
    spec = {"classes": names, "label_thresholds": [0.2] * 41, "targets": []}
    np.testing.assert_array_equal(EVALUATED_ANSWERS[TargetKind.MULTILABEL](table, spec), selected_NC)
    before = rows.assign(**{Column.DISTRIBUTION: list(probability_NC)})
    np.testing.assert_array_equal(EVALUATED_ANSWERS[TargetKind.MULTILABEL](before, spec), selected_NC)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_the_first_of_equal_classes_is_the_predicted_one(value):
    probability_BC = np.full((3, 50), value, np.float32)
    columns = likeliest_columns(probability_BC, [str(number) for number in range(50)])
    assert columns["likeliest_1"].tolist() == ["0"] * 3
