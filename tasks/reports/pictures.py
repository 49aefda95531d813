"""Pictures of results, as PNG files."""

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

mpl.rcParams["text.parse_math"] = False  # a dollar in the name of a class is a dollar

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which the colour-blind can tell apart.
COLORS = {
    Candidate.MEAN: "#CCCCCC",
    Candidate.SCRATCH: "#999999",
    Candidate.PROBE: "#0072B2",
    Candidate.TUNED: "#D55E00",
    Candidate.TEACHER: "#009E73",
}
THUMBNAIL = 256  # pixels
MOST_CLASSES = 30  # that a confusion matrix can name


def sheet(path: Path, rows: Sequence[np.ndarray], titles: Sequence[str]) -> None:
    """Rows of pictures, (n, 3, S, S) floats in [0, 1] each, under column titles."""
    figure, axes = plt.subplots(
        len(rows), len(titles), figsize=(1.3 * len(titles), 1.3 * len(rows) + 0.3), squeeze=False
    )
    for line, pictures in zip(axes, rows, strict=True):
        for cell, picture in zip(line, pictures, strict=False):
            cell.imshow(picture.transpose(1, 2, 0), interpolation="nearest")
    for cell, title in zip(axes[0], titles, strict=True):
        cell.set_title(title, fontsize=9)
    for cell in axes.flat:
        cell.axis("off")
    save(figure, path)


def captioned(path: Path, pictures: Sequence[np.ndarray], captions: Sequence[str], columns: int = 8) -> None:
    """Pictures, (H, W, 3) uint8 each, with a caption below; a sentence if there are none."""
    count = max(len(pictures), 1)
    lines = -(-count // columns)
    figure, axes = plt.subplots(
        lines, min(columns, count), figsize=(1.5 * min(columns, count), 1.9 * lines), squeeze=False
    )
    for cell in axes.flat:
        cell.axis("off")
    for cell, picture, caption in zip(axes.flat, pictures, captions, strict=False):
        cell.imshow(picture, interpolation="nearest")
        cell.set_title(caption, fontsize=7)
    if not pictures:
        axes[0, 0].text(0.5, 0.5, "none", ha="center")
    save(figure, path)


def thumbnails(path: Path, files: Sequence[Path], captions: Sequence[str]) -> None:
    """Image files, small, with a caption below each."""
    images = [decode(file.read_bytes()) for file in files]
    for image in images:
        image.thumbnail((THUMBNAIL, THUMBNAIL))
    captioned(path, [np.asarray(image) for image in images], captions)


def confusion(path: Path, counts_CC: np.ndarray, classes: Sequence[str]) -> None:
    """True classes down, predicted ones across; the diagonal is left pale, so that the errors stand out."""
    shares = counts_CC / np.maximum(counts_CC.sum(1, keepdims=True), 1)
    errors = np.where(np.eye(len(classes), dtype=bool), 0, shares)
    side = min(10.0, 2.5 + 0.42 * len(classes))
    figure, axes = plt.subplots(figsize=(side, side))
    axes.imshow(errors, cmap="Oranges", vmin=0, vmax=max(0.1, errors.max()))
    if len(classes) <= MOST_CLASSES:
        axes.set_xticks(range(len(classes)), classes, rotation=90, fontsize=8)
        axes.set_yticks(range(len(classes)), classes, fontsize=8)
        for (true, predicted), count in np.ndenumerate(counts_CC):
            axes.text(predicted, true, count or "", ha="center", va="center", fontsize=8)
    axes.set(xlabel="predicted", ylabel="true")
    save(figure, path)


def candidates(
    path: Path, scores: Mapping[Candidate, tuple[float, float, float]], label: str, most: float | None = None
) -> None:
    """A score and its 95% interval, as (value, low, high), of each candidate, on an axis that ends at `most`."""
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
    """For each data set, the mean score of each model and its 95% interval, as (mean, half-width)."""
    models = list(dict.fromkeys(model for own in points.values() for model in own))
    figure, axes = plt.subplots(
        1, len(points), figsize=(2 + 3.2 * len(points), 0.8 + 0.4 * len(models)), squeeze=False, sharey=True
    )
    for cell, (name, own) in zip(axes[0], points.items(), strict=True):
        for place, model in enumerate(models):
            mean, half = own[model]
            cell.errorbar(100 * mean, place, xerr=100 * np.nan_to_num(half), fmt="o", color="#0072B2", capsize=3)
        cell.set(title=name, yticks=range(len(models)), yticklabels=models, xlabel="%")
        cell.grid(axis="x", alpha=0.3)
        cell.spines[["top", "right"]].set_visible(False)
    axes[0, 0].invert_yaxis()
    save(figure, path)


def curves(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Validation loss and accuracy over optimiser steps, a line a candidate."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3))
    for cell, column in zip(axes, (Curve.VALIDATION_LOSS, Curve.VALIDATION_SCORE), strict=True):
        for name in dict.fromkeys(row[Curve.CANDIDATE] for row in rows):
            own = [row for row in rows if row[Curve.CANDIDATE] == name]
            cell.plot(
                [row[Curve.STEP] for row in own],
                [row[column] for row in own],
                label=name,
                color=COLORS[Candidate(name)],
            )
        cell.set(xlabel="optimiser steps", title=column.replace("_", " "))
        cell.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False)
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Replaces `path` by the figure and closes it."""
    with replacing(path) as beside:
        figure.savefig(beside, format="png", dpi=110, bbox_inches="tight", metadata={"Software": "rootstock"})
    plt.close(figure)
