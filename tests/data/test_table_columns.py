from __future__ import annotations

import pandas as pd
import pytest

from tasks.core.errors import DataRefusedError
from tasks.data.tables.options import TableOptions
from tests.errors import raises

RESERVED = (
    "width",
    "height",
    "mode",
    "sha256",
    "quarantine",
    "view",
    "predicted",
    "label:bar",
    "target:x",
    "predicted:x",
)


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("filename", "class"),
        ("File_Name", "category"),
        ("image", "target"),
        ("image_path", "species"),
        ("IMG", "label_name"),
        ("image id", "Class Name"),
        ("img_name", "tags"),
        ("id", "diagnosis"),
        ("photo", "breed"),
        ("Path", "LABEL"),
        ("file-path", "labels"),
        ("path", "y"),
    ],
)
def test_usual_names_are_found_and_said(tables, capsys, path, label):
    rows = tables.rows(tables.frame.rename(columns={"path": path, "label": label}))
    assert rows[["path", "label"]].to_numpy().tolist() == tables.frame.to_numpy().tolist()
    said = capsys.readouterr().out
    assert (f"the path column is {path}" in said) == (path != "path")
    assert f"the label column is {label}" in said


def test_parameters_name_the_columns(tables):
    frame = tables.frame.assign(path="x", label="y", shot=tables.frame["path"], kind=tables.frame["label"])
    rows = tables.rows(frame, path="shot", label="kind")
    assert list(rows["path"]) == list(tables.frame["path"])
    assert list(rows["label"]) == list(tables.frame["label"])
    assert set(rows["table_path"]) | set(rows["table_label"]) == {"x", "y"}
    for options in ({"path": "nothing"}, {"label": "nothing"}):
        key = f"data.{next(iter(options))}"
        with raises(DataRefusedError, key) as caught:
            tables.rows(frame, **options)
        assert "has no column nothing; it has path, label, shot, kind" in str(caught.value)


def test_several_usual_names_are_a_question(tables):
    frame = tables.frame.rename(columns={"path": "image"})
    with raises(DataRefusedError, "data.path") as caught:
        tables.rows(frame.assign(file=frame["image"]))
    assert "image or file? Set data.path" in str(caught.value)
    with raises(DataRefusedError, "data.label") as caught:
        tables.rows(frame.drop(columns="label").assign(class_id=1, class_name="a"))
    assert "class_id or class_name? Set data.label" in str(caught.value)
    with raises(DataRefusedError, "data.path") as caught:
        tables.rows(frame.rename(columns={"image": "shot"}))
    assert "has no column path; it has shot, label" in str(caught.value)


def test_the_column_that_leads_to_files_is_taken(tables):
    frame = tables.frame.rename(columns={"path": "image"})
    assert list(tables.rows(frame.assign(id=range(12)))["path"]) == list(frame["image"])
    rows = tables.rows(frame.assign(file=[f"old/{number}.tif" for number in range(12)]))
    assert list(rows["path"]) == list(frame["image"])


def test_columns_of_0_and_1_are_advised_as_labels(tables):
    frame = tables.frame.drop(columns="label").assign(a=[0, 1] * 6, b=[True, False] * 6, c=2.5)
    with raises(DataRefusedError, "data.label") as caught:
        tables.rows(frame)
    assert "set data.labels: [a, b]" in str(caught.value)
    with raises(DataRefusedError, "data.label") as caught:
        tables.rows(frame.drop(columns="b"))
    assert "name their columns in data.targets" in str(caught.value)


@pytest.mark.parametrize("name", RESERVED)
def test_columns_named_as_our_own_are_kept_under_another_name(tables, capsys, name):
    rows = tables.rows(tables.frame.assign(**{name: range(12)}))
    assert list(rows[f"table_{name}"]) == list(range(12))
    assert name not in rows
    assert f"{name} is kept as table_{name}" in capsys.readouterr().out


def test_another_name_is_free(tables):
    rows = tables.rows(tables.frame.assign(width=1, table_width=2))
    assert rows.loc[0, ["table_width", "table_width_"]].tolist() == [2, 1]


def test_weights_are_said_with_their_range(tables, capsys):
    tables.rows(tables.frame.assign(weight=[1.0, 90.0] * 6))
    assert "rows are weighted by the column weight, 1 to 90" in capsys.readouterr().out
    tables.rows(tables.frame.assign(weight=1))
    assert "weight" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        ([True, False], [1, 0]),
        (["true", "FALSE"], [1, 0]),
        ([1, 2.5], [1, 2.5]),
        (["1e3", " -2"], [1000, -2]),
        ([True, None], [1, None]),
    ],
)
@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_targets_are_numbers_or_booleans(tables, name, cells, numbers):
    frame = tables.frame[:2].assign(size=pd.Series(cells))
    rows = tables.rows(frame, name, targets=("size",))
    assert list(rows["target:size"].dropna()) == [number for number in numbers if number is not None]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (pd.date_range("2026-01-01", periods=2), "size is not for bar/0.png: 2026-01-01"),
        (pd.date_range("2026-01-01", periods=2).date, "size is not for bar/0.png: 2026-01-01"),
        (pd.to_timedelta([1, 2], unit="h"), "size is not for bar/0.png: 0 days"),
        (["1,5", "2,5"], "write decimal points"),
        (["1", "large"], "bar/1.png: large ("),
    ],
)
@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_other_targets_are_refused_with_the_row(tables, name, cells, message):
    frame = tables.frame[:2].assign(size=cells)
    with raises(DataRefusedError, "table-targets") as caught:
        tables.rows(frame, name, targets=("size",))
    assert message in str(caught.value)
    assert ("(row " if name == "t.parquet" else "(line ") in str(caught.value)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"labels": ("a",), "separator": ";"}, "data.labels"),
        ({"labels": ("a",), "targets": ("b",)}, "data.labels"),
        ({"separator": ";", "targets": ("b",)}, "data.separator"),
        ({"label": "a", "targets": ("b",)}, "data.label"),
    ],
)
def test_parameters_that_exclude_each_other_are_refused(options, key):
    with raises(DataRefusedError, key):
        TableOptions(**options).check()
