from __future__ import annotations

import os
import sys

from flows.sources.copies import listing
from flows.sources.images import images_of
from tasks.core.errors import DataRefusedError, RootstockError
from tests.drawn import write_shapes
from tests.errors import raises


def test_the_digits_are_rendered_once(params, tmp_path):
    folder = images_of(params())
    first = listing(folder)
    assert len(list(folder.rglob("*.png"))) == 1797
    assert listing(images_of(params())) == first


def test_sources_are_checked_before_anything_is_copied(params, tmp_path):
    root = write_shapes(tmp_path / "shapes", {"": 2})
    assert images_of(params(data={"source": str(root)})) == root
    (root / ".git" / "refs" / "tags").mkdir(parents=True)
    assert images_of(params(data={"source": str(root)})) == root
    (root / "link").symlink_to(tmp_path)
    with raises(RootstockError, "folder-link") as caught:
        images_of(params(data={"source": str(root)}))
    assert str(root / "link") in str(caught.value)
    (root / "link").unlink()
    if sys.platform == "linux":  # other file systems refuse such names themselves
        latin = root / "bar" / os.fsdecode(b"K\xe4fer.png")
        latin.touch()
        with raises(RootstockError, "file-name") as caught:
            images_of(params(data={"source": str(root)}))
        assert r"K\xe4fer.png" in str(caught.value)
        latin.unlink()
    (root / "rootstock.parquet").touch()
    with raises(RootstockError, "reserved-name") as caught:
        images_of(params(data={"source": str(root)}))
    assert "rootstock.parquet" in str(caught.value)
    (root / "rootstock.parquet").unlink()
    (root / "empty").mkdir()
    with raises(DataRefusedError, "empty-folders"):
        images_of(params(data={"source": str(root)}))
    assert "empty" in (tmp_path / ".state" / "failed" / "source" / "report.html").read_text()
    with raises(RootstockError, "data.separator"):
        images_of(params(data={"source": str(root), "separator": ";"}))
    for source in (str(root), "digits"):
        with raises(RootstockError, "data.targets"):
            images_of(params(data={"source": source, "targets": ["angle"]}))
    with raises(RootstockError, "data.source"):
        images_of(params(data={"source": str(tmp_path / "none")}))


def test_a_listing_changes_with_names_sizes_and_times(tmp_path):
    (tmp_path / "a").write_text("a")
    first = listing(tmp_path)
    (tmp_path / "a").write_text("ab")
    second = listing(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert len({first, second, listing(tmp_path)}) == 3
