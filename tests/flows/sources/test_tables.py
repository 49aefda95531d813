from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import pandas as pd
import pytest

from flows.sources.images import images_of
from tasks.core.errors import DataRefusedError, RootstockError
from tasks.core.schema import TABLE
from tests.drawn import SHAPES, write_shapes
from tests.errors import raises


@pytest.fixture
def shots(tmp_path):
    """Returns a folder of six flat images, and the name and label of each."""
    folder = write_shapes(tmp_path / "shapes", {"": 2})
    names = []
    for shape in SHAPES:
        for number in range(2):
            (folder / shape / f"{number}.png").rename(folder / f"{shape}{number}.png")
            names.append((f"{shape}{number}.png", shape))
        (folder / shape).rmdir()
    return folder, pd.DataFrame(names, columns=["file_name", "label"])


def zipped(folder: Path) -> Path:
    return Path(shutil.make_archive(str(folder), "zip", folder))


def labels_of(folder: Path) -> list[str]:
    return sorted(pd.read_parquet(folder / TABLE)["label"])


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_metadata_beside_images_are_their_table(params, shots, capsys, suffix):
    folder, table = shots
    file = folder / f"metadata.{suffix}"
    if suffix == "csv":
        table.to_csv(file, index=False)
    elif suffix == "jsonl":
        table.to_json(file, orient="records", lines=True)
    else:
        table.to_parquet(file)
    assert labels_of(images_of(params(data={"source": str(folder)}))) == sorted(table["label"])
    assert f"the labels are read from metadata.{suffix}" in capsys.readouterr().out


def test_metadata_serve_for_targets_and_several_labels(params, shots):
    folder, table = shots
    table.assign(size=range(6), bar=[1, 0] * 3, ring=[0, 1] * 3).to_csv(folder / "metadata.csv", index=False)
    rows = pd.read_parquet(images_of(params(data={"source": str(folder), "targets": ["size"]})) / TABLE)
    assert list(rows["target:size"]) == list(range(6))
    rows = pd.read_parquet(
        images_of(params(data={"source": str(folder), "targets": [], "labels": ["bar", "ring"]})) / TABLE
    )
    assert list(rows["label:ring"]) == [0, 1] * 3


def test_two_metadata_tables_are_a_question(params, shots):
    folder, table = shots
    for name in ("metadata.csv", "metadata.tsv"):
        table.to_csv(folder / name, index=False, sep="\t")
    with raises(DataRefusedError, "several-tables") as caught:
        images_of(params(data={"source": str(folder)}))
    assert "metadata.csv or metadata.tsv? Set data.source to it" in str(caught.value)


def test_a_table_in_a_folder_of_classes_is_not_used_and_said(params, tmp_path, capsys):
    folder = write_shapes(tmp_path / "shapes", {"": 2})
    pd.DataFrame({"file_name": ["bar/0.png"], "text": ["a bar"]}).to_csv(folder / "metadata.csv", index=False)
    assert images_of(params(data={"source": str(folder)})) == folder
    assert "metadata.csv was not used" in capsys.readouterr().out
    (folder / "metadata.csv").rename(folder / "labels.csv")
    assert images_of(params(data={"source": str(folder)})) == folder
    assert "labels.csv was not used" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["manifest.csv", "train labels.csv", "Data.TSV", "a.jsonl", "a.parquet", "a.csv.gz"])
def test_the_table_in_an_archive_may_have_any_name(params, shots, name):
    folder, table = shots
    write = {"jsonl": lambda file: table.to_json(file, orient="records", lines=True), "parquet": table.to_parquet}
    write.get(name.rsplit(".", maxsplit=1)[-1], lambda file: table.to_csv(file, index=False))(folder / name)
    source = images_of(params(data={"source": str(zipped(folder))}))
    assert labels_of(source) == sorted(table["label"])


def test_an_archive_that_does_not_fit_is_refused_before_it_is_unpacked(params, shots, tmp_path):
    folder, table = shots
    table.to_csv(folder / "labels.csv", index=False)
    needed = sum(file.stat().st_size for file in folder.iterdir())
    settings = params(data={"source": str(zipped(folder))})
    usage = shutil.disk_usage(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=needed - 1))
        with raises(RootstockError, "disk-full"):
            images_of(settings)
        assert not list(settings.paths.state.rglob("*.png"))
        patch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=needed))
        images_of(settings)


def test_only_tables_that_name_images_count(params, shots):
    folder, table = shots
    table.to_csv(folder / "labels.csv", index=False)
    (folder / "prices.csv").write_text("name,price\nbar,3\n")
    (folder / "sample_submission.csv").write_text("id,label\n77,bar\n")
    source = images_of(params(data={"source": str(zipped(folder))}))
    assert labels_of(source) == sorted(table["label"])


def test_parameters_name_the_columns_of_a_table_in_an_archive(params, shots):
    folder, table = shots
    table.rename(columns={"file_name": "shot", "label": "kind"}).to_csv(folder / "labels.csv", index=False)
    source = images_of(params(data={"source": str(zipped(folder)), "path": "shot", "label": "kind"}))
    assert labels_of(source) == sorted(table["label"])


def test_several_tables_in_an_archive_are_a_question(params, shots):
    folder, table = shots
    table.to_csv(folder / "one.csv", index=False)
    table.to_csv(folder / "two.csv", index=False)
    with raises(DataRefusedError, "several-tables") as caught:
        images_of(params(data={"source": str(zipped(folder))}))
    assert "one.csv or two.csv?" in str(caught.value)
    table.to_csv(folder / "manifest.csv", index=False)
    assert labels_of(images_of(params(data={"source": str(zipped(folder))}))) == sorted(table["label"])


def test_a_table_in_an_archive_may_not_name_files_outside(params, shots):
    folder, table = shots
    rows = pd.concat([table, pd.DataFrame([("../secret.png", "bar")], columns=table.columns)])
    rows.to_csv(folder / "labels.csv", index=False)
    with raises(DataRefusedError, "table-outside"):
        images_of(params(data={"source": str(zipped(folder))}))


@pytest.mark.parametrize("suffix", ["cls", "json", "txt"])
def test_a_webdataset_shard_is_refused(params, shots, tmp_path, suffix):
    folder, table = shots
    for name, label in table.to_numpy():
        (folder / name).with_suffix(f".{suffix}").write_text(json.dumps(label))
    with tarfile.open(tmp_path / "shard.tar", "w") as opened:
        opened.add(folder, ".")
    with raises(DataRefusedError, "packed-data") as caught:
        images_of(params(data={"source": str(tmp_path / "shard.tar")}))
    assert "WebDataset" in str(caught.value)
    assert "columns path and label" in str(caught.value)


@pytest.mark.parametrize("name", ["shard-000.tar", "data/train-00000-of-00001.parquet", "a.tfrecord", "x.npz", "x.h5"])
def test_a_folder_of_packed_images_is_refused(params, tmp_path, name):
    file = tmp_path / "packed" / name
    file.parent.mkdir(parents=True)
    file.touch()
    with raises(DataRefusedError, "packed-data") as caught:
        images_of(params(data={"source": str(tmp_path / "packed")}))
    assert name in str(caught.value)
    assert "write each image to a file" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("labels.xlsx", "export it as .csv"),
        ("labels.ods", "export it as .csv"),
        ("coco.json", "write a .jsonl file"),
        ("labels.pkl", "export it as .csv"),
        ("data.arrow", "write each image to a file"),
    ],
)
def test_other_kinds_of_tables_are_refused_with_what_to_do(params, tmp_path, name, remedy):
    (tmp_path / name).touch()
    with raises(DataRefusedError, "table-kind") as caught:
        images_of(params(data={"source": str(tmp_path / name)}))
    assert remedy in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"), [("path", "a"), ("label", "a"), ("labels", ["a", "b"]), ("targets", ["a"]), ("separator", ";")]
)
def test_a_folder_has_no_columns(params, tmp_path, name, value):
    folder = write_shapes(tmp_path / "shapes", {"": 2})
    for source in (str(folder), "digits"):
        with raises(RootstockError, f"data.{name}"):
            images_of(params(data={"source": source, name: value}))


def test_captions_beside_the_images_of_a_table_are_no_shard(params, shots):
    folder, table = shots
    table.to_csv(folder / "manifest.csv", index=False)
    for name in table["file_name"]:
        (folder / name).with_suffix(".txt").write_text("a caption")
    assert labels_of(images_of(params(data={"source": str(zipped(folder))}))) == sorted(table["label"])
