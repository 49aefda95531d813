"""The gate on pairs of models whose true difference is known: how often it passes a loss of the margin; its power."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np

from tasks.gate import checks as gate
from tasks.gate.checks import Verdict
from tasks.gate.paired_tests import PairedScores, tango_bounds
from tasks.reports.page import markdown_table
from tests.benchmarks.results import PICTURES, Results

mpl.use("Agg")

PAIRS = 2000
SIZES = (100, 300, 800, 2000, 5000)
MARGIN, ERROR = 0.01, 0.05
DISAGREE = 0.04  # share of images on which exactly one of the two models is right
GAINS = (-0.02, -0.01, 0.0, 0.01)  # gains of the candidate over the live model
CLASSES, GROUP_MARGIN = 10, 0.1


def run(results: Results) -> str:
    """Returns a table of P(pass), and saves a plot of power by test size."""
    passed = {
        size: results.measured(f"{size} images", lambda: {str(gain): passes(size, gain) for gain in GAINS})
        for size in SIZES
    }
    groups = {size: results.measured(f"{size} images, classes", lambda: refusals(size)) for size in SIZES}
    draw(passed)
    rows = [
        [size, *(f"{100 * chance:.1f}" for chance in chances.values()), f"{100 * groups[size]:.1f}"]
        for size, chances in passed.items()
    ]
    columns = [
        "test images",
        *(f"true gain {100 * gain:+.0f} points" for gain in GAINS),
        "refused for a class, none fell",
    ]
    limit = 100 * (ERROR + 2 * (ERROR * (1 - ERROR) / PAIRS) ** 0.5)
    return (
        f"{markdown_table(columns, rows)}\n\nP(pass) in %, {PAIRS} pairs each, models that disagree on "
        f"{100 * DISAGREE:.0f}% of the images; at a true loss of the margin, {100 * MARGIN:.0f} point, at most "
        f"{limit:.1f} are allowed; so for the last column, where each of {CLASSES} classes lost what is tolerated"
    )


def passes(size: int, gain: float) -> float:
    """Returns the share of pairs that pass on accuracy."""
    random = np.random.default_rng(size)
    better = (DISAGREE + gain) / 2
    counts = random.multinomial(size, [better, better - gain, 1 - DISAGREE], PAIRS)
    low = [tango_bounds(int(b), int(w), size, ERROR)[0] for b, w, _ in counts]
    return float(np.mean([bound > -MARGIN for bound in low]))


def refusals(size: int) -> float:
    """Returns the share of pairs refused because of a class, although each class lost exactly the tolerated amount."""
    random = np.random.default_rng(size)
    per_class = size // CLASSES
    refused = 0
    for _ in range(PAIRS // 4):
        pairs = {}
        for name in range(CLASSES):
            better, worse, both = random.multinomial(per_class, [0.02, 0.02 + GROUP_MARGIN, 0.96 - GROUP_MARGIN])
            candidate = np.array([1] * better + [0] * worse + [1] * both)
            pairs[str(name)] = PairedScores(candidate, np.array([0] * better + [1] * worse + [1] * both))
        refused += any(c.verdict is Verdict.REFUSED for c in gate.compare_groups(pairs, GROUP_MARGIN, ERROR))
    return refused / (PAIRS // 4)


def draw(passed: dict[int, dict[str, float]]) -> None:
    """Plots P(pass) over test size, with a line per true gain."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.4))
    for gain, color in zip(GAINS, ("#999999", "#D55E00", "#0072B2", "#009E73"), strict=True):
        chances = [100 * chances[str(gain)] for chances in passed.values()]
        axes.plot(list(passed), chances, marker="o", color=color, label=f"{100 * gain:+.0f} points")
    axes.axhline(100 * ERROR, color="#bbbbbb", linewidth=1)
    axes.set(xscale="log", xticks=SIZES, xticklabels=SIZES, xlabel="test images", ylabel="passes, %")
    axes.legend(frameon=False, title="true gain")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(PICTURES / "gate.png", dpi=110, bbox_inches="tight", metadata={"Software": "rootstock"})
