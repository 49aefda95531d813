from __future__ import annotations

import csv
import gzip
import io
from contextlib import suppress

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.errors import DataRefusedError
from tasks.data.tables.files import read_frame
from tasks.data.tables.text import decode_text, split_records
from tests.errors import raises

TWO = ["bar/0.png", "bar/1.png"]


def delimited(frame, delimiter):
    return frame.to_csv(index=False, sep=delimiter)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("t.csv", lambda frame: delimited(frame, ",")),
        ("t.csv", lambda frame: delimited(frame, ";")),
        ("t.csv", lambda frame: delimited(frame, "|")),
        ("t.csv", lambda frame: delimited(frame, "\t")),
        ("t.TSV", lambda frame: delimited(frame, "\t")),
        ("t.tsv", lambda frame: delimited(frame, ",")),
        ("t.csv", lambda frame: "sep=;\n" + delimited(frame, ";")),
        ("t.csv", lambda frame: delimited(frame, ",").encode("utf-8-sig")),
        ("t.csv", lambda frame: delimited(frame, ",").encode("utf-16")),
        ("t.csv", lambda frame: ("\ufeff" + delimited(frame, ";")).encode("utf-16-be")),
        ("t.csv", lambda frame: delimited(frame, ",").encode("utf-32")),
        ("t.csv", lambda frame: delimited(frame, ",").replace("\n", "\r\n")),
        ("t.csv", lambda frame: delimited(frame, ",").replace("\n", "\r")),
        ("t.csv", lambda frame: "\n" + delimited(frame, ",").replace("\n", "\n\n") + ",\n , \n"),
        ("t.csv", lambda frame: delimited(frame, ",").replace("\n", ",\n")),
        ("t.csv", lambda frame: delimited(frame, ",").replace("png,", "png ,\t")),
        ("t.csv", lambda frame: delimited(frame, ",").replace("bar\n", '"bar" \n').replace("path,", ' "path" , ')),
        ("t.csv.gz", lambda frame: gzip.compress(delimited(frame, ";").encode())),
        ("t.csv", lambda frame: gzip.compress(delimited(frame, ",").encode())),
        ("t.jsonl", lambda frame: frame.to_json(orient="records", lines=True)),
        ("t.ndjson", lambda frame: "\n" + frame.to_json(orient="records", lines=True).replace("\n", "\n\n")),
        ("t.jsonl.gz", lambda frame: gzip.compress(frame.to_json(orient="records", lines=True).encode())),
        ("t.parquet", lambda frame: frame),
        ("t.parquet", lambda frame: frame.set_index("path")),
        ("t.parquet", lambda frame: frame.astype("category")),
        ("t.parquet", lambda frame: frame.set_axis(range(100, 112)).rename(columns={"label": " label "})),
    ],
)
def test_the_same_table_in_each_format_has_the_same_rows(tables, name, write):
    rows = tables.rows(write(tables.frame), name)
    assert rows[["path", "label"]].to_numpy().tolist() == tables.frame.to_numpy().tolist()
    assert list(rows.columns) == ["path", "label", "split"]


def test_the_delimiter_is_that_of_the_header(tables):
    rows = tables.rows("path;label;note\nbar/0.png;a, b;1,5\nbar/1.png;c, d;2,5\n")
    assert list(rows["label"]) == ["a, b", "c, d"]
    assert list(tables.rows("path,label\nbar/0.png,a;b\nbar/1.png,c;d|e\n")["label"]) == ["a;b", "c;d|e"]
    rows = tables.rows('"a,b";path\n1;bar/0.png\n2;bar/1.png\n', path="path", targets=("a,b",))
    assert list(rows["target:a,b"]) == [1, 2]
    rows = tables.rows("size,of;shot;kind\n1;bar/0.png;a\n2;bar/1.png;b\n", path="shot", label="kind")
    assert list(rows["path"]) == TWO


def test_what_is_not_utf_8_is_read_as_windows_1252_and_said(tables, capsys):
    rows = tables.rows("path,label\nbar/0.png,Kreis é\nbar/1.png,–5 €\n", encoding="cp1252")
    assert list(rows["label"]) == ["Kreis é", "–5 €"]
    assert "t.csv is not UTF-8 and was read as Windows-1252" in capsys.readouterr().out
    tables.rows("path,label\nbar/0.png,Kreis é\n")
    assert "1252" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content", "key", "message"),
    [
        ("t.csv", "path,label\n0.png,cat,0.png,dog\n", "table-fields", "has 2 fields, but line 2 has 4; "),
        ("t.csv", "path,label\na.png,a\n\nb.png\n", "table-fields", "but line 4 has 1; "),
        ("t.csv", 'path,label\n"a\n.png",a\nb.png\n', "table-fields", "but line 4 has 1; "),
        ("t.csv", "sep=,\npath,label\nb.png\n", "table-fields", "but line 3 has 1; "),
        ("t.csv", "path,label\n" + "a,b,c\n" * 5, "table-fields", "line 2 has 3, line 3 has 3, line 4 has 3 ...;"),
        ("t.csv", 'path,label\na.png,a\nb.png,"b\nc.png,c\n', "table-quotes", "row after line 2"),
        ("t.csv", 'path,label\na.png,"a"b\n', "table-quotes", "row after line 1"),
        ("t.csv", "path,label,path\na.png,a,b\n", "table-repeated-column", "has path twice"),
        ("t.csv", b"path,label\na.png,\x81\n", "table-encoding", "line 2 is not UTF-8"),
        ("t.csv", "path,label\na.png,a\n".encode("utf-16-le"), "table-encoding", "NUL"),
        ("t.csv", b"\xef\xbb\xbf", "table-empty", "is empty"),
        ("t.csv", "path,label\n", "table-empty", "has no rows"),
        ("t.csv", b"PK\x03\x04 and more", "table-kind", "export it as .csv"),
        ("t.csv", "version https://git-lfs.github.com/spec/v1\n", "table-kind", "git lfs pull"),
        ("t.csv", "\n<!DOCTYPE html><html>", "table-kind", "HTML page"),
        ("t.csv.gz", gzip.compress(b"path,label\n", mtime=0)[:-9], "table-damaged", "cannot be read"),
        ("t.jsonl", '[{"path": "a.png"}]', "table-kind", "JSON list; write a .jsonl file"),
        (
            "t.jsonl",
            '{"path": "a.png"}\n{"path": \n',
            "table-json",
            "line 2 cannot be read: Expecting value",
        ),
        ("t.jsonl", '{"path": "a.png"}\n3\n', "table-json", "line 2 cannot be read: it is no object"),
        ("t.jsonl", "\n", "table-empty", "has no rows"),
        ("t.parquet", b"junk", "table-damaged", "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_line(tables, name, content, key, message):
    with raises(DataRefusedError, key) as caught:
        tables.rows(content, name)
    assert message in str(caught.value)


@pytest.mark.parametrize("cell", [{"bytes": b"\x89PNG", "path": "0.png"}, b"\x89PNG"])
def test_a_table_that_contains_the_images_is_refused(tables, cell):
    with raises(DataRefusedError, "table-image-bytes") as caught:
        tables.rows(pd.DataFrame({"image": [cell] * 3, "label": ["a", "b", "c"]}), "t.parquet")
    assert "write each image to a file" in str(caught.value)
    paths = ["bar/0.png", "bar/1.png", "bar/2.png"]
    rows = tables.rows(pd.DataFrame({"thumbnail": [cell] * 3, "path": paths, "label": list("abc")}), "t.parquet")
    assert list(rows["path"]) == paths


def test_an_unnamed_column_is_kept(tables):
    rows = tables.rows(tables.frame.to_csv())
    assert list(rows["Unnamed: 0"]) == list(range(12))


def test_types_are_the_same_in_each_format(tables):
    frame = tables.frame.assign(number=range(12), part=1.5, mixed=[*range(11), "x"], gap=[None, *range(11)])
    expected = tables.rows(frame.to_csv(index=False))
    actual = tables.rows(frame.to_json(orient="records", lines=True), "t.jsonl")
    assert [actual[name].dtype.kind for name in ("number", "part", "gap")] == ["i", "f", "f"]
    assert list(actual["mixed"]) == list(expected["mixed"]) == [*map(str, range(11)), "x"]
    nested = tables.rows('{"path": "bar/0.png", "label": 1, "box": [1, {"a": "é"}]}\n', "t.jsonl")
    assert nested.loc[0, ["label", "box"]].tolist() == ["1", '[1, {"a": "é"}]']


CELL = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\t,;|\"'"), max_size=8)


@given(
    rows=st.lists(st.lists(CELL, min_size=3, max_size=3), min_size=1, max_size=6),
    delimiter=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
)
def test_what_a_csv_writer_writes_is_read(tmp_path_factory, rows, delimiter, quoting):
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=delimiter, quoting=quoting).writerows([["path", "label", "note"], *rows])
    file = tmp_path_factory.getbasetemp() / "t.csv"
    records = split_records(file, decode_text(file, buffer.getvalue().encode()), {"path"})
    assert (records.header, records.rows) == (["path", "label", "note"], rows)


@given(st.binary(max_size=60), st.sampled_from(["t.csv", "t.tsv", "t.jsonl", "t.csv.gz", "t.parquet"]))
def test_any_bytes_are_read_or_refused(tmp_path_factory, content, name):
    file = tmp_path_factory.getbasetemp() / name
    file.write_bytes(content)
    with suppress(DataRefusedError):
        assert isinstance(read_frame(file), pd.DataFrame)
