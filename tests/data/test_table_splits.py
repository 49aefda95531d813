from __future__ import annotations

import pandas as pd
import pytest

from tasks.core.errors import DataRefusedError
from tests.errors import raises

THIRDS = ["train", "validation", "test"] * 4
HALVES = ["train", "test"] * 6


@pytest.mark.parametrize(
    ("column", "values", "splits"),
    [
        ("is_valid", [False, True] * 6, ["train", "validation"] * 6),
        ("is_valid", [0, 1] * 6, ["train", "validation"] * 6),
        ("is_test", ["False", "TRUE"] * 6, HALVES),
        ("isTrain", [1.0, 0.0] * 6, HALVES),
        ("is_training_image", [1, 0] * 6, HALVES),
        ("subset", ["train", "val", "test"] * 4, THIRDS),
        ("Set", ["Training", "valid", "Testing"] * 4, THIRDS),
        ("Usage", ["Training", "PublicTest", "PrivateTest"] * 4, THIRDS),
        ("partition", ["train ", "validation", "TEST"] * 4, THIRDS),
        ("phase", ["train", "test"] * 6, HALVES),
        ("Split", ["train", "val", "test"] * 4, THIRDS),
        ("fold", ["train", "val", "test"] * 4, THIRDS),
    ],
)
def test_columns_that_clearly_mean_a_split_are_used_and_said(tables, capsys, column, values, splits):
    rows = tables.rows(tables.frame.assign(**{column: values}))
    assert list(rows["split"]) == splits
    assert f"the column {column} is used as the split: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("fold", [0, 1, 2] * 4),
        ("fold", [0, 1] * 6),
        ("set", ["a", "b"] * 6),
        ("is_valid", [True] * 12),
        ("is_valid", [True, False, None] * 4),
        ("is_valid", ["yes", "no"] * 6),
        ("subset", ["train", "extra"] * 6),
        ("usage", ["test"] * 12),
        ("partition", [0, 1, 2] * 4),
    ],
)
def test_columns_that_may_mean_a_split_are_said_and_kept(tables, capsys, column, values):
    rows = tables.rows(tables.frame.assign(**{column: values}))
    assert rows["split"].isna().all()
    assert f"{column} may be meant as the split, but is not used" in capsys.readouterr().out
    assert rows[column].nunique() == pd.Series(values).nunique()


def test_two_flags_are_combined_unless_they_contradict(tables, capsys):
    flags = {"is_valid": [False, True, False] * 4, "is_test": [False, False, True] * 4}
    assert list(tables.rows(tables.frame.assign(**flags))["split"]) == THIRDS
    assert "the columns is_valid and is_test are used" in capsys.readouterr().out
    rows = tables.rows(tables.frame.assign(**{**flags, "is_test": flags["is_valid"]}))
    assert rows["split"].isna().all()
    assert "is_valid, is_test may be meant" in capsys.readouterr().out


def test_a_column_split_is_the_split(tables, capsys):
    rows = tables.rows(tables.frame.assign(split=HALVES, is_valid=[True, False] * 6))
    assert list(rows["split"]) == HALVES
    assert "is_valid" not in capsys.readouterr().out
    with raises(DataRefusedError, "table-splits") as caught:
        tables.rows(tables.frame.assign(split=["train", "trian"] * 6))
    assert "trian (line 3); use train, validation, test" in str(caught.value)


def test_a_column_split_may_name_splits_in_phrases(tables):
    words = ["training set", "val_set", "TestImages", "PublicTest", "PrivateTest", "unlabelled"]
    splits = ["train", "validation", "test", "validation", "test", "unlabelled"]
    rows = tables.rows(tables.frame.assign(split=words * 2))
    assert list(rows["split"]) == splits * 2


def test_a_target_or_label_is_no_split(tables, capsys):
    rows = tables.rows(tables.frame.assign(fold=range(12)), targets=("fold",))
    assert rows["split"].isna().all()
    rows = tables.rows(tables.frame.assign(subset=HALVES), label="subset")
    assert set(rows["label"]) == {"train", "test"}
    assert rows["split"].isna().all()
    assert "split" not in capsys.readouterr().out
