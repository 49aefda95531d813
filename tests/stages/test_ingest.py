from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
from PIL import Image

from tasks.core.errors import DataRefusedError
from tasks.core.schema import Column
from tasks.data.decoding import load
from tasks.scorer.decode import Decoding
from tests.drawn import drawn
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


def spoken(paths, capsys, **changes):
    ingested(paths, **changes)
    return capsys.readouterr().out


def test_ingest_writes_how_images_are_decoded_and_reads_them_so(paths):
    drawing = Image.new("RGBA", (32, 32))
    drawing.paste("black", (4, 4, 9, 20))
    drawing.save(paths.raw / "train" / "bar" / "drawing.png")
    hashes = set()
    for background, color in (("white", (255,) * 3), ("black", (0,) * 3), ("#0a141e", (10, 20, 30))):
        ingested(paths, **{"data.background": background})
        assert load(paths.decoding) == Decoding(background=color)
        hashes |= set(pd.read_parquet(paths.manifest).query("path.str.endswith('drawing.png')")[Column.PIXEL_HASH])
    assert len(hashes) == 3


def test_ingest_refuses_images_with_too_many_pixels_by_name(paths):
    drawn("bar", 99, 64).save(paths.raw / "train" / "bar" / "large.png")
    assert ingested(paths).quarantined == 0
    assert ingested(paths, **{"data.max_pixels": 64 * 63}).quarantined == 1
    (reason,) = pd.read_parquet(paths.manifest)[Column.QUARANTINE].dropna()
    assert "64 x 64 pixels are more than data.max_pixels, 4032" in reason


def test_ingest_names_dark_gray_and_a_white_level_makes_it_bright(paths, capsys):
    gray_HW = np.asarray(drawn("bar", 99).convert("L")).astype(np.uint16) * 16
    Image.fromarray(gray_HW).save(paths.raw / "train" / "bar" / "dark.tif")
    assert "1 images of 16-bit gray use at most 12 bits" in spoken(paths, capsys)
    assert "16-bit" not in spoken(paths, capsys, **{"data.white_level": 4095})
    assert "above data.white_level, 1000" in spoken(paths, capsys, **{"data.white_level": 1000})


def test_ingest_leaves_thumbnails_out_and_counts_them(paths, capsys):
    files = sorted((paths.raw / "train" / "bar").glob("*.png"))
    for file in files:
        place = file.parent / "@eaDir" / file.name
        place.mkdir(parents=True)
        shutil.copy(file, place / "SYNOPHOTO_THUMB_SM.jpg")
    said = spoken(paths, capsys)
    assert f"{len(files)} files of systems and programs, such as thumbnails, were left out: " in said
    assert not pd.read_parquet(paths.manifest)[Column.PATH].str.contains("@eaDir").any()


def test_ingest_reads_a_class_of_another_suffix(paths):
    for number in range(9):
        drawn("bar", 300 + number).save(paths.raw / "train" / "bar" / f"{number}.jfif", "JPEG")
    assert ingested(paths).quarantined == 0
    assert pd.read_parquet(paths.manifest)[Column.PATH].str.endswith(".jfif").sum() == 9
