from __future__ import annotations

import pandas as pd
import pytest

from tasks.core.errors import DataRefusedError
from tasks.core.schema import TABLE, Column
from tasks.data.tables.copying import bring_together
from tasks.data.tables.options import TableOptions
from tests.errors import raises
from tests.stages.contract import ingested


@pytest.fixture
def manifest_of(tables, tmp_path, paths):
    """Returns a function from a table's content to its manifest."""

    def manifest(content, name="t.csv", **options):
        raw = bring_together(tables.write(content, name), tmp_path / "together", TableOptions(**options))
        ingested(paths.model_copy(update={"raw": raw}))
        return pd.read_parquet(paths.manifest)

    return manifest


def test_windows_paths_are_read(tables):
    rows = tables.rows(tables.frame.assign(path=tables.frame["path"].str.replace("/", "\\")))
    assert list(rows["path"]) == list(tables.frame["path"])
    literal = tables.folder / "a\\b.png"
    (tables.folder / "bar" / "0.png").rename(literal)
    rows = tables.rows("path,label\na\\b.png,a\n.\\bar\\1.png,b\n")
    assert list(rows["path"]) == ["a\\b.png", "bar/1.png"]


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("bar/0", "bar/0.png"),
        ("bar\\0", "bar/0.png"),
        ("./bar/0", "bar/0.png"),
        ("lone", "deep/in/lone.jpg"),
        ("in/lone", "deep/in/lone.jpg"),
        ("007", "deep/007.png"),
        ("img.007", "deep/img.007.png"),
        ("gone", "gone"),
        ("ba", "ba"),
        ("lone.png", "lone.png"),
    ],
)
def test_names_without_a_suffix_are_looked_up(tables, written, path):
    image = (tables.folder / "bar" / "0.png").read_bytes()
    for name in ("deep/in/lone.jpg", "deep/007.png", "deep/img.007.png"):
        (tables.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (tables.folder / name).write_bytes(image)
    rows = tables.rows(f"path,label\n{written},a\nring/1.png,b\n")
    assert list(rows["path"]) == [path, "ring/1.png"]


def test_numbers_are_looked_up_in_each_format(tables):
    for number, shape in enumerate(("bar", "disc", "ring")):
        (tables.folder / shape / "0.png").rename(tables.folder / f"{number + 100}.png")
    frame = pd.DataFrame({"image_id": [100, 101, 102], "label": list("abc")})
    for name in ("t.csv", "t.parquet"):
        assert list(tables.rows(frame, name)["path"]) == ["100.png", "101.png", "102.png"]
    lines = frame.to_json(orient="records", lines=True)
    assert list(tables.rows(lines, "t.jsonl")["path"]) == ["100.png", "101.png", "102.png"]


def test_a_name_of_several_files_is_refused(tables):
    with raises(DataRefusedError, "table-unclear-path") as caught:
        tables.rows("path,label\nbar/0.png,a\n1,b\n")
    assert "1: bar/1.png or disc/1.png or ring/1.png (line 3)" in str(caught.value)
    (tables.folder / "1.png").write_bytes(b"")
    assert list(tables.rows("path,label\nbar/0.png,a\n1,b\n")["path"]) == ["bar/0.png", "1.png"]


def test_two_names_of_one_file_are_a_repeated_path(tables):
    with raises(DataRefusedError, "table-repeated-path") as caught:
        tables.rows("path,label\nbar/0.png,a\nbar/0,b\n")
    assert "bar/0 (line 3)" in str(caught.value)


@pytest.mark.parametrize("address", ["https://x.org/a.png", "s3://bucket/a.png", "file:///a.png"])
def test_addresses_are_refused(tables, address):
    with raises(DataRefusedError, "table-addresses") as caught:
        tables.rows(f"path,label\nbar/0.png,a\n{address},b\n")
    assert f"{address} (line 3)" in str(caught.value)


@pytest.mark.parametrize(
    "missing", ["/elsewhere/bar/9.png", "../elsewhere/9.png", "C:\\bar\\9.png", "bar/9.png", "~/9.png"]
)
def test_a_missing_file_is_called_as_the_table_writes_it(tables, manifest_of, capsys, missing):
    manifest = manifest_of(tables.frame.to_csv(index=False) + f"{missing},bar\n")
    row = manifest[manifest[Column.QUARANTINE].notna()]
    assert list(row[Column.QUARANTINE]) == [f"the file cannot be read: no file {missing}"]
    assert list(row[Column.PATH]) == [missing.removeprefix("/").removeprefix("../")]
    assert f"1 of 13 files do not exist: {missing}" in capsys.readouterr().out


def test_missing_files_keep_different_names(tables, tmp_path):
    frame = tables.frame.assign(path=["/bar/0.png", "../bar/0.png", *tables.frame["path"][:10]])
    rows = pd.read_parquet(bring_together(tables.write(frame), tmp_path / "together") / TABLE)
    assert rows[Column.PATH].is_unique
    assert rows[Column.QUARANTINE].notna().sum() == 2
    assert list(rows[Column.PATH][2:]) == list(frame["path"][2:])


@pytest.mark.parametrize(
    ("before", "message"),
    [("/elsewhere/", "where there is bar/0.png"), ("C:\\data\\", "bar/0.png"), ("no/", "relative to")],
)
def test_a_table_without_any_file_is_refused(tables, tmp_path, before, message):
    file = tables.write(tables.frame.assign(path=before + tables.frame["path"]))
    with raises(DataRefusedError, "table-no-files") as caught:
        bring_together(file, tmp_path / "together")
    assert f"{before}bar/0.png, {before}bar/1.png, {before}bar/2.png ...;" in str(caught.value)
    assert message in str(caught.value)


def test_renamed_columns_and_odd_names_reach_the_manifest(tables, manifest_of):
    labels = ["a|b", "two\nlines", "c, d"] * 4
    manifest = manifest_of(tables.frame.assign(label=labels, width=7))
    assert list(manifest[Column.LABEL]) == labels
    assert list(manifest["table_width"]) == [7] * 12
    assert set(manifest[Column.WIDTH]) == {32}


def test_columns_of_0_and_1_reach_the_manifest(tables, manifest_of):
    manifest = manifest_of(tables.frame.assign(a=[0, 1] * 6, b=[1, 1, 0] * 4), labels=("a", "b"))
    assert set(manifest[Column.LABEL]) == {"b", "a|b", "", "a"}
    assert list(manifest["label:a"]) == [0, 1] * 6
