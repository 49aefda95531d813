from __future__ import annotations

import shutil

import pandas as pd
from PIL import Image

from tasks.core.errors import DataRefusedError
from tasks.core.files import read_json
from tests.drawn import write_shapes
from tests.errors import raises
from tests.stages.contract import ingested, validated


def test_validate_passes_good_data_and_reports(paths):
    ingested(paths)
    assert validated(paths).warnings == 0
    assert "holds" in paths.validation_page.read_text()
    assert all(finding["success"] for finding in read_json(paths.validation))


def test_validate_refuses_naming_rows_and_leaves_its_report(paths):
    (paths.raw / "train" / "bar" / "0.png").write_bytes(b"junk")
    ingested(paths)
    with raises(DataRefusedError, "validation-failed") as caught:
        validated(paths)
    assert "train/bar/0.png: not an image" in str(caught.value)
    assert "train/bar/0.png" in paths.validation_page.read_text()
    assert validated(paths, max_unreadable=0.1).warnings == 0


def test_validate_passes_with_a_warning_and_prints_it(paths, capsys):
    shutil.rmtree(paths.raw / "val" / "ring")
    ingested(paths)
    assert validated(paths).warnings == 1
    assert "warning:   failed: every class has validation images" in capsys.readouterr().out


def test_a_label_that_no_training_image_has_is_refused(scenes):
    manifest = scenes.raw / "rootstock.parquet"
    table = pd.read_parquet(manifest)
    table.loc[table["split"] == "train", "label:disc"] = 0.0
    table.to_parquet(manifest)
    ingested(scenes)
    with raises(DataRefusedError, "validation-failed") as caught:
        validated(scenes)
    assert "disc: 0 train" in str(caught.value)


def test_near_duplicates_in_two_splits_are_a_warning_with_thumbnails(paths):
    with Image.open(paths.raw / "train" / "bar" / "0.png") as image:
        large = image.resize((96, 96), Image.Resampling.BICUBIC)
    large.save(paths.raw / "train" / "bar" / "copy.png")
    large.save(paths.raw / "test" / "bar" / "copy.webp", quality=95)
    ingested(paths)
    assert validated(paths).warnings == 1
    page = paths.validation_page.read_text()
    assert "test/bar/copy.webp: almost the same picture as train/bar/copy.png (train)" in page
    assert "data:image/png" in page


def test_a_class_too_small_for_test_images_is_a_warning_if_the_source_has_no_splits(paths, tmp_path):
    raw = write_shapes(tmp_path / "plain", {"": 6})
    for number in range(1, 6):
        (raw / "ring" / f"{number}.png").unlink()
    paths = paths.model_copy(update={"raw": raw})
    ingested(paths)
    assert validated(paths).warnings == 2
    assert "ring: 1 train, 0 validation, 0 test" in paths.validation_page.read_text()
