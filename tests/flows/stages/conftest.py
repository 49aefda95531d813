from __future__ import annotations

import shutil

import pytest

from tests.project import ROOT, Project


@pytest.fixture
def checkout(tmp_path, params, monkeypatch):
    """Creates a repository with DVC's settings and nothing else, and changes into it, out of the folder of `params`."""
    root = tmp_path / "checkout"
    shutil.copytree(ROOT / ".dvc", root / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp", "config.local"))
    (root / "data").mkdir()
    Project(root).git("init", "--quiet")
    monkeypatch.chdir(root)
    return root
