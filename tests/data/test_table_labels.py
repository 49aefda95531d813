from __future__ import annotations

import unicodedata

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.errors import DataRefusedError
from tasks.core.schema import Split
from tasks.data.tables.labels import clean_text
from tests.errors import raises

LISTS = "join the labels of an image into one text with a separator, and set data.separator to it"


def test_blanks_and_decomposed_letters_make_no_new_classes(tables):
    names = ["bar", " bar", "bar ", "\tbar", "bar\u00a0", "café", unicodedata.normalize("NFD", "café"), "None"]
    frame = tables.frame[:8].assign(label=names)
    for name in ("t.csv", "t.parquet"):
        assert set(tables.rows(frame, name)["label"]) == {"bar", "café", "None"}


@given(st.text())
def test_clean_text_is_clean(text):
    clean = clean_text(text)
    assert clean is None or (clean == clean.strip() and unicodedata.is_normalized("NFC", clean))
    assert clean_text(clean or "") == clean


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["1", "1.0", "2"], ["1", "1", "2"]),
        (["1.00", "1", "01"], ["1", "1", "01"]),
        (["1.0", "2.0", "3.0"], ["1.0", "2.0", "3.0"]),
        (["-1.0", "-1", "1.5"], ["-1", "-1", "1.5"]),
        (["v1", "v1.0", "1.0"], ["v1", "v1.0", "1.0"]),
    ],
)
def test_labels_that_are_the_same_number_are_one_class(tables, capsys, labels, classes):
    assert list(tables.rows(tables.frame[:3].assign(label=labels))["label"]) == classes
    assert ("is the class" in capsys.readouterr().out) == (labels != classes)


@pytest.mark.parametrize(
    "text", ["['bar', 'x']", '["a"]', "{a,b}", "[]", "{'a'}", "['a' 'b']", " [1, 2] ", "('a', 'b')"]
)
@pytest.mark.parametrize("separator", [None, ","])
def test_texts_of_lists_are_refused_as_lists_are(tables, text, separator):
    with raises(DataRefusedError, "table-lists") as caught:
        tables.rows(tables.frame.assign(label=["bar", text] * 6), separator=separator)
    assert LISTS in str(caught.value)
    assert "(line 3)" in str(caught.value)


@pytest.mark.parametrize("cell", [["a"], ["a", "b"], []])
def test_lists_are_refused(tables, cell):
    for name, content in (
        ("t.parquet", tables.frame.assign(label=[cell] * 12)),
        ("t.jsonl", tables.frame.assign(label=[cell] * 12).to_json(orient="records", lines=True)),
    ):
        with raises(DataRefusedError, "table-lists") as caught:
            tables.rows(content, name)
        assert LISTS in str(caught.value)


@pytest.mark.parametrize("label", ["[unknown]", "a, b", "it's", "{x}", "(a)", "a\nb", "a|b", 'say "hi"', "sep=;"])
@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.jsonl"])
def test_a_class_may_have_almost_any_name(tables, label, name):
    frame = tables.frame.assign(label=[label, "other"] * 6)
    content = frame.to_json(orient="records", lines=True) if name == "t.jsonl" else frame
    assert set(tables.rows(content, name)["label"]) == {label, "other"}


BITS = {"bar": [1, 0, 0, None], "disc": [0, 1, 0, None], "big one": [1, 1, 0, None]}


@pytest.mark.parametrize("kind", [float, "Int64", "boolean", "string"])
@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_columns_of_0_and_1_are_labels(tables, kind, name):
    bits = pd.DataFrame(BITS).astype("Int64")
    rows = tables.rows(tables.frame[:4].assign(**bits.astype(kind)), name, labels=tuple(BITS))
    assert rows["label"].fillna("-").tolist() == ["bar|big one", "big one|disc", "", "-"]
    assert rows["label:big one"].tolist() == [1, 1, 0, 0]
    assert rows["label:disc"].tolist() == [0, 1, 0, 0]
    assert rows["split"].tolist() == [None, None, None, Split.UNLABELED]
    assert list(rows["table_label"]) == ["bar"] * 4


@pytest.mark.parametrize("cell", [2, "yes", 0.5, None, -1])
def test_other_values_are_refused_with_the_row(tables, cell):
    frame = tables.frame.assign(a=[0, 1] * 6, b=[cell, *[1, 0] * 5, 1])
    with raises(DataRefusedError, "data.labels") as caught:
        tables.rows(frame, labels=("a", "b"))
    assert "not so for bar/0.png (line 2)" in str(caught.value)
    with raises(DataRefusedError, "data.labels") as caught:
        tables.rows(frame, labels=("a", "c"))
    assert "has no column c" in str(caught.value)


def test_labels_of_images_with_several_may_not_contain_the_joiner(tables):
    with raises(DataRefusedError, "table-label-joiner") as caught:
        tables.rows(tables.frame.assign(label="a|b; c"), separator=";")
    assert "a|b" in str(caught.value)
    with raises(DataRefusedError, "table-label-joiner"):
        tables.rows(tables.frame.assign(**{"a|b": 1, "c": 0}), labels=("a|b", "c"))
    rows = tables.rows(tables.frame.assign(label="a|b"), separator="|")
    assert set(rows["label"]) == {"a|b"}
    assert {"label:a", "label:b"} <= set(rows)


@pytest.mark.parametrize("separator", [" ", "\t"])
def test_a_separator_of_blanks_alone_means_no_labels(tables, separator):
    lines = [f"bar/0.png,a{separator}b", f"bar/1.png,{separator}", "bar/2.png,"]
    rows = tables.rows("\n".join(["path,label", *lines, ""]), separator=separator)
    assert rows["label"].fillna("-").tolist() == ["a|b", "", "-"]
