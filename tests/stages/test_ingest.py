from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
from PIL import Image

from tasks.core.errors import DataRefusedError
from tasks.core.files import read_json
from tasks.core.schema import Column
from tasks.data.decoding import load
from tasks.data.split_memory import write_memory
from tasks.scorer.decode import Decoding
from tests.drawn import drawn, write_shapes
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


def without_splits(paths, tmp_path, count=9):
    """Returns paths to images of three classes without splits."""
    return paths.model_copy(update={"raw": write_shapes(tmp_path / "plain", {"": count})})


def test_a_copy_in_another_format_has_the_split_of_its_original(paths, tmp_path):
    paths = without_splits(paths, tmp_path)
    for file in sorted(paths.raw.rglob("*.png")):
        with Image.open(file) as image:
            large = image.resize((96, 96), Image.Resampling.BICUBIC)
        large.save(file)
        large.save(file.with_suffix(".webp"), quality=95)
    ingested(paths)
    manifest = pd.read_parquet(paths.manifest)
    by_name = manifest.groupby(manifest[Column.PATH].str.rsplit(".", n=1).str[0])
    assert len(manifest) == 2 * by_name.ngroups == 54
    assert (by_name[Column.SPLIT].nunique() == 1).all()
    assert (by_name[Column.GROUP].nunique() == 1).all()


def test_a_small_set_has_images_of_every_class_in_every_split(paths, tmp_path):
    paths = without_splits(paths, tmp_path, count=3)
    ingested(paths)
    manifest = pd.read_parquet(paths.manifest)
    assert manifest.groupby([Column.LABEL, Column.SPLIT]).size().to_list() == [1] * 9
    assert read_json(paths.split_record) == {"ours": True, "near_duplicates": [], "unsearched": 0}


def test_images_of_earlier_versions_keep_their_splits(paths, tmp_path):
    paths = without_splits(paths, tmp_path)
    ingested(paths)
    first = pd.read_parquet(paths.manifest)
    opposite = {"train": "test", "test": "train", "validation": "train"}
    write_memory(paths.splits, dict(zip(first[Column.PIXEL_HASH], first[Column.SPLIT].map(opposite), strict=True)))
    ingested(paths)
    assert list(pd.read_parquet(paths.manifest)[Column.SPLIT]) == list(first[Column.SPLIT].map(opposite))


def test_near_duplicates_in_two_splits_of_the_source_are_drawn(paths):
    copied = Image.open(paths.raw / "train" / "bar" / "0.png").resize((96, 96), Image.Resampling.BICUBIC)
    copied.save(paths.raw / "train" / "bar" / "copy.png")
    copied.save(paths.raw / "test" / "bar" / "copy.webp", quality=95)
    ingested(paths)
    record = read_json(paths.split_record)
    assert not record["ours"]
    assert ["test/bar/copy.webp", "train/bar/copy.png"] in record["near_duplicates"]
    assert Image.open(paths.near_duplicates).width == 192


def test_notes_on_folders_are_said(paths, capsys):
    (paths.raw / "test").rename(paths.raw / "test_set")
    ingested(paths)
    assert "splits from folders: test_set is test" in capsys.readouterr().out
