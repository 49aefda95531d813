"""Plots of measurements for the README."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt

from tasks.reports.figures import save
from tests.benchmarks.results import PICTURES

INK = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")  # Okabe and Ito's palette, which is safe for color blindness


def bars(
    name: str,
    series: Mapping[str, Mapping[str, Sequence[float]]],
    label: str,
    low: float = 0.0,
    high: float | None = 100.0,
) -> None:
    """Saves a bar chart of means and standard deviations: a color per series, a position per name."""
    names = list(dict.fromkeys(place for places in series.values() for place in places))
    figure, axes = plt.subplots(figsize=(7, 0.5 + 0.3 * len(names) * len(series)))
    top = high or 1.1 * max(np.mean(values) for places in series.values() for values in places.values())
    wide = 0.8 / len(series)
    for number, (color, (title, places)) in enumerate(zip(INK[: len(series)], series.items(), strict=True)):
        at = [names.index(place) + (number + 0.5) * wide - 0.4 for place in places]
        means = [float(np.mean(values)) for values in places.values()]
        off = [float(np.std(values, ddof=1)) if len(values) > 1 else 0.0 for values in places.values()]
        axes.barh(at, means, 0.9 * wide, xerr=off, color=color, label=title, error_kw={"elinewidth": 1})
        for place, mean in zip(at, means, strict=True):
            inside = mean - low > 0.08 * (top - low)
            at_x, ink = (low, "white") if inside else (max(mean, low), "black")
            axes.text(at_x + 0.01 * (top - low), place, f"{mean:.1f}", va="center", color=ink, fontsize=8)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set(xlim=(low, top), xlabel=label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(series))
    save(figure, PICTURES / f"{name}.png")


def lines(name: str, series: Mapping[str, Sequence[Sequence[float]]], across: str, label: str, low: float) -> None:
    """Saves a line chart in percent over 0, 1, 2 and so on: a color per series, a line per seed."""
    figure, axes = plt.subplots(figsize=(7, 3.2))
    for color, (title, seeds) in zip(INK[: len(series)], series.items(), strict=True):
        for number, values in enumerate(seeds):
            axes.plot(range(len(values)), values, color=color, label=None if number else title, linewidth=1.3)
    axes.set(ylim=(low, 100), xlabel=across, ylabel=label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False, loc="lower right")
    save(figure, PICTURES / f"{name}.png")
