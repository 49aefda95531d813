"""Shared setup of all figures: a headless backend, colors, and saving."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl

from tasks.core.files import replacing
from tasks.core.schema import Candidate

mpl.use("Agg")

from matplotlib import pyplot as plt

mpl.rcParams["text.parse_math"] = False  # a dollar sign in a class name does not start a formula

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["COLORS", "plt", "save"]

COLORS = {
    Candidate.MEAN: "#CCCCCC",
    Candidate.SCRATCH: "#999999",
    Candidate.PROBE: "#0072B2",
    Candidate.TUNED: "#D55E00",
    Candidate.TEACHER: "#009E73",
}


def save(figure: Figure, path: Path) -> None:
    """Writes the figure to `path`, replacing it atomically, and closes the figure."""
    with replacing(path) as beside:
        figure.savefig(beside, format="png", dpi=110, bbox_inches="tight", metadata={"Software": "rootstock"})
    plt.close(figure)
