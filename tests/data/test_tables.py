from __future__ import annotations

import pandas as pd
import pytest

from tasks.core.errors import DataRefusedError
from tasks.core.schema import TABLE, Column, Split
from tasks.data.tables.copying import bring_together
from tasks.data.tables.options import TableOptions
from tasks.data.tables.table import read_table
from tasks.ingest import IngestParams, ingest
from tests.drawn import write_shapes
from tests.errors import raises
from tests.stages.contract import DECODING


@pytest.fixture
def table(tmp_path):
    """Returns a CSV with every supported column, which lists twelve images in a folder beside it."""
    write_shapes(tmp_path / "pictures", {"": 4})
    rows = [
        (
            f"pictures/{shape}/{n}.png",
            shape,
            ["train", "train", "val", "test"][n],
            f"{shape}{n}",
            n + 1,
            f"camera {n % 2}",
        )
        for shape in ("bar", "disc", "ring")
        for n in range(4)
    ]
    file = tmp_path / "labels.csv"
    pd.DataFrame(rows, columns=["path", "label", "split", "group", "weight", "camera"]).to_csv(file, index=False)
    return file


def ingested(paths, folder):
    section = {"classes": "auto", "validation": 0.2, "test": 0.2}
    ingest(paths.model_copy(update={"raw": folder}), IngestParams(ingest=section, **DECODING))
    return pd.read_parquet(paths.manifest)


def test_the_tables_columns_reach_the_manifest(table, tmp_path, paths):
    manifest = ingested(paths, bring_together(table, tmp_path / "together"))
    assert list(manifest[Column.PATH]) == list(pd.read_csv(table)["path"])
    assert manifest[Column.SPLIT].value_counts().to_dict() == {"train": 6, "validation": 3, "test": 3}
    assert list(manifest[Column.WEIGHT][:4]) == [1, 2, 3, 4]
    assert list(manifest[Column.GROUP][:2]) == ["bar0", "bar1"]
    assert list(manifest["camera"][:2]) == ["camera 0", "camera 1"]


def test_labels_stay_text_and_splits_may_be_left_to_the_groups(tmp_path, paths):
    write_shapes(tmp_path, {"": 20})
    rows = [
        (f"{shape}/{n}.png", number, f"group {n % 10}")
        for number, shape in enumerate(("bar", "disc"))
        for n in range(20)
    ]
    pd.DataFrame(rows, columns=["path", "label", "group"]).to_parquet(tmp_path / "labels.parquet")
    manifest = ingested(paths, bring_together(tmp_path / "labels.parquet", tmp_path / "together"))
    assert set(manifest[Column.LABEL]) == {"0", "1"}
    assert manifest.groupby(Column.GROUP)[Column.SPLIT].nunique().eq(1).all()
    assert manifest[Column.SPLIT].nunique() == 3


def test_rows_without_a_label_are_unlabeled_and_missing_files_are_listed(table, tmp_path, paths):
    rows = pd.read_csv(table)
    rows.loc[0, "label"] = None
    rows.to_csv(table, index=False)
    (tmp_path / "pictures" / "bar" / "1.png").unlink()
    manifest = ingested(paths, bring_together(table, tmp_path / "together"))
    assert manifest.loc[0, Column.SPLIT] == "unlabelled"
    assert "cannot be read" in manifest.loc[1, Column.QUARANTINE]


def test_files_outside_of_the_tables_folder_get_unique_names(table, tmp_path):
    rows = pd.read_csv(table)
    rows["path"] = [str(tmp_path / path) for path in rows["path"]]
    (tmp_path / "deep").mkdir()
    rows.to_csv(tmp_path / "deep" / "labels.csv", index=False)
    folder = bring_together(tmp_path / "deep" / "labels.csv", tmp_path / "together")
    names = pd.read_parquet(folder / TABLE)["path"]
    assert names.is_unique
    assert all((folder / name).is_file() for name in names)


def test_it_is_copied_again_only_when_something_changed(table, tmp_path):
    folder = bring_together(table, tmp_path / "together")
    first = folder.stat().st_ino
    assert bring_together(table, tmp_path / "together").stat().st_ino == first
    picture = tmp_path / "pictures" / "bar" / "0.png"
    picture.write_bytes(picture.read_bytes() + b" ")
    assert bring_together(table, tmp_path / "together").stat().st_ino != first
    assert (folder / "pictures" / "bar" / "0.png").read_bytes() == picture.read_bytes()


@pytest.mark.parametrize(
    ("change", "key", "place"),
    [
        (lambda rows: rows[:0], "table-empty", "labels.csv"),
        (lambda rows: rows.drop(columns="label"), "data.label", "no column label; it has path, split"),
        (lambda rows: rows.assign(split="trian"), "table-splits", "trian (line 2); use train"),
        (lambda rows: rows.assign(weight=[0, *rows["weight"][1:]]), "table-weights", "pictures/bar/0.png"),
        (lambda rows: rows.assign(weight=["inf", *rows["weight"][1:]]), "table-weights", "pictures/bar/0.png"),
        (lambda rows: pd.concat([rows, rows[:1]]), "table-repeated-path", ": pictures/bar/0.png"),
        (
            lambda rows: pd.concat([rows, rows[:1].assign(path="./pictures/bar/0.png")]),
            "table-repeated-path",
            ": ./pictures/bar/0.png",
        ),
        (lambda rows: rows.assign(path=[None, *rows["path"][1:]]), "table-repeated-path", "labels.csv"),
        (lambda rows: rows.assign(path=["x" * 300, *rows["path"][1:]]), "table-invalid-path", ": xxx"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_with_the_place(table, change, key, place):
    change(pd.read_csv(table)).to_csv(table, index=False)
    with raises(DataRefusedError, key) as caught:
        read_table(table)
    assert place in str(caught.value)


def test_an_empty_text_is_missing_in_parquet_as_in_csv(table):
    rows = pd.read_csv(table)
    rows.loc[[0, 5], "label"] = rows.loc[1:4, "group"] = rows.loc[7, "split"] = ""
    rows.to_csv(table, index=False), rows.to_parquet(table.with_suffix(".parquet"))
    for separator in (None, ";"):
        from_csv, other = (
            read_table(table.with_suffix(f".{kind}"), TableOptions(separator=separator)).rows
            for kind in ("csv", "parquet")
        )
        pd.testing.assert_frame_equal(other, from_csv)
        assert (other[Column.SPLIT] == Split.UNLABELED).sum() == 2


def test_a_long_column_of_numbers_and_texts_is_one_of_texts(tmp_path):
    """The reader reads a long file in parts."""
    lines = [f"{number}.png,a,{number}" for number in range(300_000)]
    (tmp_path / "long.csv").write_text("\n".join(["path,label,camera", *lines, "last.png,a,unknown"]))
    assert set(read_table(tmp_path / "long.csv").rows["camera"].map(type)) == {str}


def test_an_image_that_is_not_readable_is_named(table, tmp_path, monkeypatch):
    def refused(*_files):
        raise PermissionError

    monkeypatch.setattr("tasks.data.tables.copying.shutil.copy2", refused)
    with raises(DataRefusedError, "table-unreadable-image") as caught:
        bring_together(table, tmp_path / "together")
    assert "bar/0.png" in str(caught.value)


def test_labels_in_lists_are_refused(table):
    rows = pd.read_csv(table)
    rows.assign(label=[["a", "b"]] * len(rows)).to_parquet(table.with_suffix(".parquet"))
    with raises(DataRefusedError, "table-lists") as caught:
        read_table(table.with_suffix(".parquet"))
    assert "data.separator" in str(caught.value)


@pytest.mark.parametrize("name", ["reason", "distribution"])
def test_a_target_may_not_be_named_like_a_column_of_the_predictions(table, name):
    pd.read_csv(table).assign(**{name: 1.0}).to_csv(table, index=False)
    with raises(DataRefusedError, "table-reserved-column") as caught:
        read_table(table, TableOptions(targets=(name,)))
    assert f"rename {name}" in str(caught.value)


def test_a_file_that_is_no_table_is_refused(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"junk")
    with raises(DataRefusedError, "table-damaged"):
        read_table(tmp_path / "a.parquet")


def test_targets_are_numbers_and_rows_without_one_are_unlabeled(table, tmp_path):
    rows = pd.read_csv(table).assign(size=[1.5, None, *range(10)], word="large")
    rows.to_csv(table, index=False)
    read = read_table(table, TableOptions(targets=("size",))).rows
    assert "label" not in read
    assert list(read["target:size"][:1]) == [1.5]
    assert read["split"][1] == "unlabelled"
    with raises(DataRefusedError, "table-targets") as caught:
        read_table(table, TableOptions(targets=("word",)))
    assert "pictures/bar/0.png" in str(caught.value)
    rows.assign(size=float("inf")).to_csv(table, index=False)
    with raises(DataRefusedError, "table-targets") as caught:
        read_table(table, TableOptions(targets=("size",)))
    assert "pictures/bar/0.png" in str(caught.value)
    with raises(DataRefusedError, "data.targets") as caught:
        read_table(table, TableOptions(targets=("height",)))
    assert "no column height; it has path" in str(caught.value)
    rows.rename(columns={"size": "width"}).to_csv(table, index=False)
    assert list(read_table(table, TableOptions(targets=("width",))).rows["target:width"][:1]) == [1.5]
    read = read_table(table).rows
    assert list(read["table_width"][:1]) == [1.5]
    assert "width" not in read


def test_a_table_from_an_archive_may_not_name_files_outside(table, tmp_path):
    rows = pd.read_csv(table)
    rows.loc[0, "path"] = "../secret.png"
    rows.to_csv(table, index=False)
    with raises(DataRefusedError, "table-outside") as caught:
        bring_together(table, tmp_path / "together", trusted=False)
    assert "../secret.png" in str(caught.value)


def test_none_and_na_are_names_of_classes(table):
    rows = pd.read_csv(table).assign(label=["None", "NA", "null"] * 4)
    rows.to_csv(table, index=False)
    assert set(read_table(table).rows["label"]) == {"None", "NA", "null"}


def test_labels_become_columns_and_a_separator_alone_means_no_labels(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("path,label\na.png,dog; cat\nb.png,;\nc.png,\nd.png,cat\n")
    rows = read_table(table, TableOptions(separator=";")).rows.set_index("path")
    assert rows["label"].fillna("-").to_dict() == {"a.png": "cat|dog", "b.png": "", "c.png": "-", "d.png": "cat"}
    assert rows["label:cat"].tolist() == [1, 0, 0, 1]
    assert rows["label:dog"].tolist() == [1, 0, 0, 0]
    assert rows["split"].tolist() == [None, None, Split.UNLABELED, None]
    with raises(DataRefusedError, "data.separator"):
        read_table(table, TableOptions(targets=("label",), separator=";"))


def test_a_column_may_have_any_other_name(table, tmp_path, paths):
    rows = pd.read_csv(table)
    rows["self"] = range(12)
    rows.to_csv(table, index=False)
    assert ingested(paths, bring_together(table, tmp_path / "together"))["self"].tolist() == list(range(12))
