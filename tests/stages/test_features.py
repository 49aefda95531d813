from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image

from tasks.core.errors import ParamsError, RootstockError
from tasks.core.schema import Column
from tasks.embedding import compiled as compiling
from tasks.embedding.compiled import NotCompiledError
from tasks.embedding.matrix import matrix_files, read_features
from tasks.hardware import machine_cache
from tests.drawn import drawn
from tests.errors import raises
from tests.stages.contract import augmented, embedded, headed, ingested


def matrix_of(paths):
    return torch.cat([x_ND for x_ND, _ in read_features(paths)])


def test_features_embeds_only_what_is_new(paths):
    ingested(paths), augmented(paths)
    first = embedded(paths, views=1)
    assert (first.rows, first.embedded, first.width) == (18 * 2 + 9 + 12, 57, 1024)
    before = [file.read_bytes() for file in matrix_files(paths.matrix)]
    assert embedded(paths, views=1).embedded == 0
    assert [file.read_bytes() for file in matrix_files(paths.matrix)] == before
    assert embedded(paths, views=2).embedded == 18
    drawn("disc", 999).save(paths.raw / "test" / "disc" / "new.png")
    ingested(paths)
    assert embedded(paths, views=2).embedded == 1


@pytest.mark.slow  # a C++ compiler takes half a minute
def test_features_of_a_compiled_network_are_the_same_and_kept_apart(paths, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(machine_cache, "user_cache_path", lambda _name: tmp_path / "cache")
    monkeypatch.setattr(compiling, "measure", lambda *_: {"plain": 1.0, "compiled": 0.1, "start": 1.0})
    ingested(paths), augmented(paths)
    report = embedded(paths, views=1, compiled_from=57)
    assert (report.compiled, report.embedded) == (True, 57)
    assert "compiling the network" in capsys.readouterr().out
    quick = matrix_of(paths)
    report = embedded(paths, views=1, compiled_from=57)
    assert (report.compiled, report.embedded) == (True, 0)
    assert "compiling the network" not in capsys.readouterr().out
    report = embedded(paths, views=1)
    assert (report.compiled, report.embedded) == (False, 57)
    torch.testing.assert_close(matrix_of(paths), quick, atol=1e-4, rtol=1e-4)
    report = embedded(paths, views=2, compiled_from=19)
    assert (report.compiled, report.embedded) == (False, 18)


def test_what_cannot_be_compiled_is_embedded_all_the_same(paths, monkeypatch, capsys):
    def fails(*_arguments):
        raise NotCompiledError("no compiler", key="features.compile")

    monkeypatch.setattr(compiling, "pays", lambda *_: True)
    monkeypatch.setattr(compiling, "compiled", fails)
    ingested(paths), augmented(paths)
    report = embedded(paths, views=1, compiled_from=57)
    assert (report.compiled, report.embedded) == (False, 57)
    assert "no compiler; continuing without" in capsys.readouterr().out


def test_features_are_in_the_order_of_the_index(paths):
    ingested(paths), augmented(paths), embedded(paths)
    index, matrix = pd.read_parquet(paths.index), matrix_of(paths)
    manifest = pd.read_parquet(paths.manifest)
    assert list(index.query("view == 0")[Column.PATH]) == list(manifest[Column.PATH])
    assert matrix.shape == (len(index), 1024)
    views = index[index[Column.PATH] == "train/bar/0.png"]
    assert list(views[Column.VIEW]) == [0, 1, 2]
    assert not torch.equal(matrix[views.index[0]], matrix[views.index[1]])


def test_blocks_of_any_size_are_the_same_matrix(paths, monkeypatch):
    """Also images that were decoded in other batches, and fewer parts than before."""
    ingested(paths), augmented(paths), embedded(paths)
    whole, index = matrix_of(paths), pd.read_parquet(paths.index)
    for images, parts in ((5, 8), (1, 39), (100, 1)):
        monkeypatch.setattr("tasks.embedding.index.BLOCK_IMAGES", images)
        shutil.rmtree(paths.feature_store)
        assert embedded(paths).embedded == len(index)
        assert len(matrix_files(paths.matrix)) == parts
        assert torch.equal(matrix_of(paths), whole)
        pd.testing.assert_frame_equal(pd.concat([rows for _, rows in read_features(paths)], ignore_index=True), index)


def test_the_head_is_the_same_for_parts_of_any_size(paths, monkeypatch):
    """Also if a part has no image of a split: the first parts are of test images."""
    ingested(paths), augmented(paths), embedded(paths), headed(paths)
    whole = paths.head_weights.read_bytes()
    monkeypatch.setattr("tasks.embedding.index.BLOCK_IMAGES", 2)
    embedded(paths), headed(paths)
    assert paths.head_weights.read_bytes() == whole


def test_features_refuses_more_views_than_there_are(paths):
    ingested(paths), augmented(paths)
    with raises(ParamsError, "features.views"):
        embedded(paths, views=4)


def test_another_precision_is_another_context(paths):
    ingested(paths), augmented(paths), embedded(paths)
    assert embedded(paths, precision="bfloat16").embedded > 0


def test_a_jpeg_and_its_lossless_copy_do_not_share_features(paths, tmp_path):
    """A large JPEG is decoded at reduced size: the pixels are the same, but the network's inputs are not."""
    photo, copy = (paths.raw / "train" / "bar" / f"large.{kind}" for kind in ("jpg", "png"))
    drawn("bar", 999, side=600).save(photo)
    Image.open(photo).save(copy)

    def feature(file: Path, state: str) -> torch.Tensor:
        room = paths.model_copy(update={"state": tmp_path / state})
        ingested(room), augmented(room), embedded(room)
        paths_of_rows = list(pd.read_parquet(room.index)[Column.PATH])
        asked = [row for row, path in enumerate(paths_of_rows) if room.raw / path == file]
        return matrix_of(room)[asked]

    together = [feature(file, "both") for file in (photo, copy)]
    pixels = pd.read_parquet(paths.manifest).set_index(Column.PATH)[Column.PIXEL_HASH]
    assert pixels["train/bar/large.jpg"] == pixels["train/bar/large.png"]
    data = copy.read_bytes()
    copy.unlink()
    alone = [feature(photo, "jpeg")]
    photo.unlink()
    copy.write_bytes(data)
    alone.append(feature(copy, "png"))
    assert together[0].shape == (3, 1024)
    assert all(torch.equal(separate, shared) for separate, shared in zip(alone, together, strict=True))
    assert (together[0] - together[1]).abs().max() > 1e-3


def test_features_that_do_not_fit_are_refused_before_they_are_computed(paths, monkeypatch):
    ingested(paths), augmented(paths)
    usage, needed = shutil.disk_usage("/"), 4 * 1024 * 2 * 57  # the store's rows and the matrix
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=needed - 1))
    with raises(RootstockError, "disk-full"):
        embedded(paths, views=1)
    assert not paths.matrix.exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=needed))
    assert embedded(paths, views=1).embedded == 57
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=needed // 2))
    assert embedded(paths, views=1).embedded == 0, "the store has them"
