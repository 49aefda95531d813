"""What DVC is asked to do, by the real DVC."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from flows import versioning
from tasks.parts.errors import RootstockError
from tests.project import ROOT, Project


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository with DVC's settings and nothing else; it is where the test works."""
    root = tmp_path / "checkout"
    shutil.copytree(ROOT / ".dvc", root / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp", "config.local"))
    (root / "data").mkdir()
    Project(root).git("init", "--quiet")
    monkeypatch.chdir(root)
    return root


@pytest.mark.parametrize("way", ["absolute", "absolute with ..", "relative"])
def test_files_keep_their_names_however_the_source_is_written(checkout, shapes, way):
    source = {
        "absolute": shapes,
        "absolute with ..": checkout / ".." / shapes.name,
        "relative": Path("..") / shapes.name,
    }[way]
    versioning.track(source, Path("data/raw"))
    found = {str(file.relative_to(checkout / "data" / "raw")) for file in (checkout / "data" / "raw").rglob("*.png")}
    assert found == {str(file.relative_to(shapes)) for file in shapes.rglob("*.png")}


def test_a_copy_that_was_edited_by_hand_is_not_replaced(checkout, shapes):
    versioning.track(shapes, Path("data/raw"))
    edited = next((checkout / "data" / "raw").rglob("*.png"))
    edited.unlink()
    with pytest.raises(RootstockError, match=r"data/raw: changed by hand.*dvc checkout --force data/raw"):
        versioning.track(shapes, Path("data/raw"))
    assert not edited.exists()
