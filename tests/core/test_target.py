"""Prediction targets, and the encoding of manifest rows' true values for each problem type."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tasks.core.schema import HAS, TARGET, Column
from tasks.core.target import ENCODERS, SCORES, SUMMARIES, TargetKind, TargetSpec

SPECS = {
    TargetKind.CLASSIFICATION: TargetSpec(classes=("a", "line\nbreak|", "ü")),
    TargetKind.MULTILABEL: TargetSpec(TargetKind.MULTILABEL, classes=("a", "b")),
    TargetKind.REGRESSION: TargetSpec(TargetKind.REGRESSION, targets=("w",), mean_K=(0.1,), std_K=(1 / 3,)),
}


@pytest.mark.parametrize("kind", TargetKind)
def test_a_spec_survives_its_file_to_the_bit(kind, tmp_path):
    SPECS[kind].save(tmp_path / "task.json")
    assert TargetSpec.load(tmp_path / "task.json") == SPECS[kind]


@pytest.mark.parametrize("table", [ENCODERS, SCORES, SUMMARIES, SPECS])
def test_every_table_knows_every_kind(table):
    assert set(table) == set(TargetKind)


def test_classes_are_encoded_by_their_place_and_unknown_ones_by_minus_one():
    rows = pd.DataFrame({Column.LABEL: pd.array(["ü", "a", "elsewhere", pd.NA], "string")})
    encoded = SPECS[TargetKind.CLASSIFICATION].encode(rows)
    assert encoded.tolist() == [2, 0, -1, -1]
    assert encoded.dtype == np.int64


def test_labels_and_values_are_float32_in_the_order_of_the_spec():
    rows = pd.DataFrame({f"{HAS}b": [1.0, 0.0], f"{HAS}a": [0.0, 1.0], f"{TARGET}w": [0.1, 2.0]})
    assert SPECS[TargetKind.MULTILABEL].encode(rows).tolist() == [[0, 1], [1, 0]]
    values = SPECS[TargetKind.REGRESSION].encode(rows)
    assert values.dtype == np.float32
    assert values.tolist() == [[np.float32(0.1)], [2.0]]
