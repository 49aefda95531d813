"""How often the gate passes a model that loses the whole margin in macro F1, NLL or error, and its power beside before.

Before: a paired bootstrap of the difference, with percentiles widened for small samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from statistics import NormalDist

import matplotlib as mpl
import numpy as np
from scipy.stats import t as student

from tasks.gate.f1_gains import f1_bounds
from tasks.gate.paired_tests import mean_bounds
from tasks.metrics.intervals import MIN_WRONG
from tasks.reports.page import markdown_table
from tests.benchmarks.gate_populations import (
    MAE,
    NLL,
    SHARES,
    Losses,
    gains,
    losing,
    macro_f1_of,
    predictions,
    true_gain,
)
from tests.benchmarks.results import PICTURES, Results

mpl.use("Agg")

Passes = Callable[[np.random.Generator, int, float, float], bool]  # of a sample, for N images, margin and true gain
PAIRS, ERROR = 2000, 0.05
PAIRS_BEFORE, RESAMPLES = 500, 500
SETTINGS = ((100, 0.05), (268, 0.01), (1000, 0.01))  # test images, margin
DISAGREE = (0.04, 0.005)  # share of the images on which exactly one model is right, apart from the loss
POWER = (100, 300, 1000, 3000)
GAINS = (-0.01, 0.0, 0.01)


def run(results: Results) -> str:
    """Returns a table of the share that passes, and saves a plot of the power."""
    rows = []
    for name, (now, before) in tests().items():
        cells = []
        for images, margin in SETTINGS:
            measure = partial(share, images=images, margin=margin, gain=-margin)
            new = results.measured(f"{name}, {images}", partial(measure, now, PAIRS))
            old = results.measured(f"{name}, {images}, before", partial(measure, before, PAIRS_BEFORE))
            cells.append(f"{100 * new:.1f} ({100 * old:.1f})")
        rows.append([name, *cells])
    power = {
        f"{name}, {word}": {
            str(gain): [
                results.measured(
                    f"{name}, {word}, {images}, {gain}", partial(share, test, PAIRS_BEFORE, images, 0.01, gain)
                )
                for images in POWER
            ]
            for gain in GAINS
        }
        for name in ("macro F1, 2 classes", "NLL, 90% right, noise", "MAE, normal")
        for word, test in zip(("now", "before"), tests()[name], strict=True)
    }
    draw(power)
    columns = ["passes, % (before)", *(f"{images} images, margin {margin:g}" for images, margin in SETTINGS)]
    limit = 100 * (ERROR + 2 * (ERROR * (1 - ERROR) / PAIRS) ** 0.5)
    return f"{markdown_table(columns, rows)}\n\n{PAIRS} pairs ({PAIRS_BEFORE} before); at most {limit:.1f} are allowed"


def tests() -> dict[str, tuple[Passes, Passes]]:
    """Returns the gate's test and the earlier one for each metric and population."""
    by_name: dict[str, tuple[Passes, Passes]] = {}
    for name, shares in SHARES.items():
        for rarest in (False, True):
            for disagree in DISAGREE:
                where = "in the rarest class" if rarest else "in all classes"
                population = partial(losing, shares, 0.92, disagree, rarest=rarest)
                label = f"macro F1, {name}" if (rarest, disagree) == (False, DISAGREE[0]) else ""
                label = label or f"macro F1, {name}, lost {where}, {100 * disagree:g}% disagree"
                by_name[label] = (partial(f1_passes, population), partial(f1_passed, population))
    by_name |= {f"NLL, {name}": (partial(nll_passes, of), partial(mean_passed, of)) for name, of in NLL.items()}
    return by_name | {f"MAE, {name}": (partial(mean_passes, of), partial(mean_passed, of)) for name, of in MAE.items()}


def share(test: Passes, pairs: int, images: int, margin: float, gain: float) -> float:
    """Returns the share of pairs that pass."""
    random = np.random.default_rng(images)
    return float(np.mean([test(random, images, margin, gain) for _ in range(pairs)]))


def f1_passes(
    population: Callable[[float], np.ndarray], random: np.random.Generator, images: int, margin: float, gain: float
) -> bool:
    """Draws a pair of classifiers. Returns whether the candidate passes by macro F1."""
    low, _ = f1_bounds(predictions(population(gain), random, images), ERROR, exclusive=True)
    return low > -margin


def nll_passes(of: Losses, random: np.random.Generator, images: int, margin: float, gain: float) -> bool:
    """Draws a pair of classifiers. Returns whether the candidate passes by NLL; an NLL above log 2 is an error."""
    live_N, ours_N = of(random, images)
    wrong = int((np.maximum(live_N, ours_N) > math.log(2)).sum())
    return wrong >= MIN_WRONG and mean_bounds(live_N - ours_N - true_gain(of) + gain, ERROR)[0] > -margin


def mean_passes(of: Losses, random: np.random.Generator, images: int, margin: float, gain: float) -> bool:
    """Draws a pair of models. Returns whether the candidate passes by its mean loss."""
    return mean_bounds(gains(of, random, images, gain), ERROR)[0] > -margin


def f1_passed(
    population: Callable[[float], np.ndarray], random: np.random.Generator, images: int, margin: float, gain: float
) -> bool:
    """Draws a pair of classifiers. Returns whether the candidate passed by macro F1 before."""
    if images < min_images_before(margin):
        return False
    joint = population(gain)
    cells = random.multinomial(images, joint.ravel())
    resamples = random.multinomial(images, cells / images, RESAMPLES).reshape(-1, *joint.shape)
    differences = [macro_f1_before(draw.sum(2)) - macro_f1_before(draw.sum(1)) for draw in resamples]
    return float(np.quantile(differences, tail_before(images))) > -margin


def mean_passed(of: Losses, random: np.random.Generator, images: int, margin: float, gain: float) -> bool:
    """Draws a pair of models. Returns whether the candidate passed by its mean loss before."""
    gain_N = gains(of, random, images, gain)
    means = random.multinomial(images, np.full(images, 1 / images), RESAMPLES) @ gain_N / images
    return float(np.quantile(means, tail_before(images))) > -margin


def macro_f1_before(count_CC: np.ndarray) -> float:
    """Returns macro F1 over the classes that occur."""
    occurs_C = count_CC.sum(0) + count_CC.sum(1) > 0
    return macro_f1_of(count_CC[np.ix_(occurs_C, occurs_C)])


def min_images_before(margin: float) -> int:
    """Returns the number of images that two equal classifiers needed before (Tango)."""
    z = NormalDist().inv_cdf(1 - ERROR)
    return math.floor(z * z * (1 - margin) / margin) + 1


def tail_before(images: int) -> float:
    """Returns the percentile of the earlier bootstrap (Hesterberg, 2015)."""
    return NormalDist().cdf(math.sqrt(images / (images - 1)) * float(student.ppf(ERROR, images - 1)))


def draw(power: dict[str, dict[str, list[float]]]) -> None:
    """Plots the share that passes over test images: a plot for each metric, dashed lines for before."""
    from matplotlib import pyplot as plt

    names = list(dict.fromkeys(name.rpartition(", ")[0] for name in power))
    figure, plots = plt.subplots(1, len(names), figsize=(9.6, 3.2), sharey=True)
    for axes, name in zip(plots, names, strict=True):
        for word, style in (("now", "-"), ("before", "--")):
            for gain, color in zip(GAINS, ("#D55E00", "#0072B2", "#009E73"), strict=True):
                shares = [100 * passed for passed in power[f"{name}, {word}"][str(gain)]]
                axes.plot(
                    POWER, shares, style, color=color, label=f"{100 * gain:+.0f} points" if word == "now" else None
                )
        axes.axhline(100 * ERROR, color="#bbbbbb", linewidth=1)
        axes.set(xscale="log", title=name, xlabel="test images")
        axes.spines[["top", "right"]].set_visible(False)
    plots[0].set_ylabel("passes, % (dashed: before)")
    plots[-1].legend(frameon=False, title="true gain", loc="upper left", fontsize=8)
    figure.savefig(PICTURES / "gate_errors.png", dpi=100, bbox_inches="tight", metadata={"Software": "rootstock"})
