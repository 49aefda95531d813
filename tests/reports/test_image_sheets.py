from __future__ import annotations

import numpy as np

from tasks.core.schema import Candidate, Curve
from tasks.reports import diagrams, image_sheets
from tasks.reports.diagrams import robustness


def drawings(folder):
    """Returns one image of each kind."""
    folder.mkdir()
    image_sheets.sheet(folder / "sheet.png", [np.random.rand(2, 3, 8, 8)], ["clean", "view 1", "view 2"])
    image_sheets.captioned(folder / "wrong.png", [np.zeros((9, 5, 3), np.uint8)] * 9, ["a, not\nb"] * 9)
    image_sheets.captioned(folder / "none.png", [], [])
    diagrams.confusion(folder / "few.png", np.eye(3, dtype=int), ["$10_to_$20", "$%$", "c"])
    diagrams.confused_pairs(folder / "many.png", [(f"${n}_a$ > {n}", 20 - n, 0.1) for n in range(20)])
    diagrams.confused_pairs(folder / "no_errors.png", [])
    row = {Curve.CANDIDATE: Candidate.TUNED, Curve.STEP: 1, Curve.VALIDATION_LOSS: 0.5, Curve.VALIDATION_SCORE: 0.5}
    diagrams.curves(folder / "curves.png", [row, {**row, Curve.STEP: 2}])
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_image_sheets_are_byte_identical_each_time(tmp_path):
    np.random.seed(1)
    first = drawings(tmp_path / "a")
    np.random.seed(1)
    assert first == drawings(tmp_path / "b")
    assert all(data.startswith(b"\x89PNG") for data in first.values())


def test_many_strengths_of_a_corruption_are_drawn(tmp_path):
    rows = [{"corruption": "noise", "strength": step / 10, "accuracy": 0.5} for step in range(9)]
    robustness(tmp_path / "robust.png", rows, 0.9)
    assert (tmp_path / "robust.png").stat().st_size > 1000
