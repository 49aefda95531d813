"""Pins for every stage, and data for the other kinds of target."""

from __future__ import annotations

import pytest

from tasks.data.tables.copying import bring_together
from tasks.data.tables.options import TableOptions
from tests.drawn import write_discs, write_scenes
from tests.stages.contract import _pinned  # noqa: F401 - a fixture that applies to every module here


@pytest.fixture
def scenes(paths, tmp_path):
    """Returns paths with images that have one label, two or none."""
    raw = bring_together(write_scenes(tmp_path / "scenes"), tmp_path / "together", TableOptions(separator=";"))
    return paths.model_copy(update={"raw": raw})


@pytest.fixture
def discs(paths, tmp_path):
    """Returns paths with images that have two numeric targets."""
    table = write_discs(tmp_path / "discs")
    raw = bring_together(table, tmp_path / "together", TableOptions(targets=("radius", "x")))
    return paths.model_copy(update={"raw": raw})
