from __future__ import annotations

import shutil

import pandas as pd

from tasks.core.errors import DataRefusedError
from tasks.core.schema import Column
from tests.errors import raises
from tests.stages.contract import ingested


def test_ingest_writes_one_row_per_image(paths):
    report = ingested(paths)
    manifest = pd.read_parquet(paths.manifest)
    assert report.images == {"train": 18, "validation": 9, "test": 12, "unlabelled": 0}
    assert (report.classes, report.quarantined, len(manifest)) == (3, 0, 39)
    assert set(manifest.columns) >= {
        Column.PATH,
        Column.SHA256,
        Column.PIXEL_HASH,
        Column.PERCEPTUAL_HASH,
        Column.GROUP,
        Column.QUARANTINE,
    }
    assert manifest[Column.WIDTH].eq(32).all()


def test_ingest_keeps_a_broken_file_in_quarantine_and_counts_others(paths):
    (paths.raw / "train" / "bar" / "0.png").write_bytes(b"junk")
    (paths.raw / "train" / "bar" / "notes.txt").write_text("about")
    report = ingested(paths)
    broken = pd.read_parquet(paths.manifest).query("quarantine.notna()")
    assert (report.quarantined, report.ignored) == (1, 1)
    assert broken[Column.PATH].tolist() == ["train/bar/0.png"]


def test_ingest_refuses_an_empty_folder(paths):
    shutil.rmtree(paths.raw)
    paths.raw.mkdir()
    with raises(DataRefusedError, "no-images"):
        ingested(paths)
    assert not paths.manifest.exists()


def test_ingest_refuses_a_single_class(paths):
    for split in ("train", "val", "test"):
        for shape in ("disc", "ring"):
            shutil.rmtree(paths.raw / split / shape)
    with raises(DataRefusedError, "single-class") as caught:
        ingested(paths)
    assert "bar" in str(caught.value)
    assert not paths.manifest.exists()
