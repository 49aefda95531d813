"""Plots results as PNG files. Shapes: N images, C classes, H height, W width, S side of a square image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np

from tasks.core.files import replacing
from tasks.core.schema import Candidate, Curve
from tasks.scorer.decode import decode

mpl.use("Agg")

from matplotlib import pyplot as plt

mpl.rcParams["text.parse_math"] = False  # a dollar sign in a class name is no formula

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette, which is safe for color-blind readers.
COLORS = {
    Candidate.MEAN: "#CCCCCC",
    Candidate.SCRATCH: "#999999",
    Candidate.PROBE: "#0072B2",
    Candidate.TUNED: "#D55E00",
    Candidate.TEACHER: "#009E73",
}
THUMBNAIL = 256  # pixels
MAX_CLASSES = 30  # that a confusion matrix is labeled with


def sheet(path: Path, rows: Sequence[np.ndarray], titles: Sequence[str]) -> None:
    """Writes a grid of images, each row (N, 3, S, S), floats in [0, 1], under column titles."""
    figure, axes = plt.subplots(
        len(rows), len(titles), figsize=(1.3 * len(titles), 1.3 * len(rows) + 0.3), squeeze=False
    )
    for line, images in zip(axes, rows, strict=True):
        for cell, image in zip(line, images, strict=False):
            cell.imshow(image.transpose(1, 2, 0), interpolation="nearest")
    for cell, title in zip(axes[0], titles, strict=True):
        cell.set_title(title, fontsize=9)
    for cell in axes.flat:
        cell.axis("off")
    save(figure, path)


def captioned(path: Path, images: Sequence[np.ndarray], captions: Sequence[str], columns: int = 8) -> None:
    """Writes a grid of images, (H, W, 3) uint8 each, with captions; the word "none" if there are none."""
    count = max(len(images), 1)
    lines = -(-count // columns)
    figure, axes = plt.subplots(
        lines, min(columns, count), figsize=(1.5 * min(columns, count), 1.9 * lines), squeeze=False
    )
    for cell in axes.flat:
        cell.axis("off")
    for cell, image, caption in zip(axes.flat, images, captions, strict=False):
        cell.imshow(image, interpolation="nearest")
        cell.set_title(caption, fontsize=7)
    if not images:
        axes[0, 0].text(0.5, 0.5, "none", ha="center")
    save(figure, path)


def thumbnails(path: Path, files: Sequence[Path], captions: Sequence[str]) -> None:
    """Writes a grid of reduced image files with captions."""
    images = [decode(file.read_bytes()) for file in files]
    for image in images:
        image.thumbnail((THUMBNAIL, THUMBNAIL))
    captioned(path, [np.asarray(image) for image in images], captions)


def confusion(path: Path, counts_CC: np.ndarray, classes: Sequence[str]) -> None:
    """Plots a confusion matrix, (C, C), true classes down; the diagonal is not colored, so that errors stand out."""
    fraction_CC = counts_CC / np.maximum(counts_CC.sum(1, keepdims=True), 1)
    error_CC = np.where(np.eye(len(classes), dtype=bool), 0, fraction_CC)
    side = min(10.0, 2.5 + 0.42 * len(classes))
    figure, axes = plt.subplots(figsize=(side, side))
    axes.imshow(error_CC, cmap="Oranges", vmin=0, vmax=max(0.1, error_CC.max()))
    if len(classes) <= MAX_CLASSES:
        axes.set_xticks(range(len(classes)), classes, rotation=90, fontsize=8)
        axes.set_yticks(range(len(classes)), classes, fontsize=8)
        for (true, predicted), count in np.ndenumerate(counts_CC):
            axes.text(predicted, true, count or "", ha="center", va="center", fontsize=8)
    axes.set(xlabel="predicted", ylabel="true")
    save(figure, path)


def candidates(
    path: Path, scores: Mapping[Candidate, tuple[float, float, float]], label: str, most: float | None = None
) -> None:
    """Plots each candidate's score with its 95% interval, (value, low, high), on an axis that ends at `most`."""
    figure, axes = plt.subplots(figsize=(6, 0.6 + 0.5 * len(scores)))
    end = most if most is not None else 1.02 * max(high for _, _, high in scores.values())
    for place, (name, (value, low, high)) in enumerate(scores.items()):
        axes.barh(place, value, color=COLORS[name], height=0.6)
        axes.plot([low, high], [place, place], color="black", linewidth=1.5)
        axes.text(1.01 * end, place, f"{value:.3g}", va="center")
    axes.set_yticks(range(len(scores)), list(scores))
    axes.set(xlim=(0, end), xlabel=f"{label} (line: 95% interval)")
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, path)


def compared(path: Path, points: Mapping[str, Mapping[str, tuple[float, float]]]) -> None:
    """Plots each model's mean score and its 95% interval, (mean, half-width), in one panel per data set."""
    models = list(dict.fromkeys(model for scores in points.values() for model in scores))
    figure, axes = plt.subplots(
        1, len(points), figsize=(2 + 3.2 * len(points), 0.8 + 0.4 * len(models)), squeeze=False, sharey=True
    )
    for cell, (name, scores) in zip(axes[0], points.items(), strict=True):
        for place, model in enumerate(models):
            mean, half = scores[model]
            cell.errorbar(100 * mean, place, xerr=100 * np.nan_to_num(half), fmt="o", color="#0072B2", capsize=3)
        cell.set(title=name, yticks=range(len(models)), yticklabels=models, xlabel="%")
        cell.grid(axis="x", alpha=0.3)
        cell.spines[["top", "right"]].set_visible(False)
    axes[0, 0].invert_yaxis()
    save(figure, path)


def curves(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Plots validation loss and score over optimizer steps, a line per candidate."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3))
    for cell, column in zip(axes, (Curve.VALIDATION_LOSS, Curve.VALIDATION_SCORE), strict=True):
        for name in dict.fromkeys(row[Curve.CANDIDATE] for row in rows):
            history = [row for row in rows if row[Curve.CANDIDATE] == name]
            cell.plot(
                [row[Curve.STEP] for row in history],
                [row[column] for row in history],
                label=name,
                color=COLORS[Candidate(name)],
            )
        cell.set(xlabel="optimiser steps", title=column.replace("_", " "))
        cell.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False)
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Writes the figure to `path`, replacing it atomically, and closes the figure."""
    with replacing(path) as beside:
        figure.savefig(beside, format="png", dpi=110, bbox_inches="tight", metadata={"Software": "rootstock"})
    plt.close(figure)
