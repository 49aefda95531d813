"""Plots scores, confusion, curves, calibration, selective prediction, robustness and residuals as PNG files.

Shapes: N images, C classes, K targets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tasks.core.schema import Candidate, Curve
from tasks.metrics.answers import Answers, Predictions
from tasks.metrics.calibration import reliability_bins
from tasks.metrics.selective import coverage_and_risk, risk_coverage
from tasks.reports.figures import COLORS, plt, save


def reliability(path: Path, raw: Predictions, scaled: Predictions, bins: int) -> None:
    """Plots accuracy over confidence in `bins` bins, before and after temperature scaling; the diagonal is ideal."""
    figure, axes = plt.subplots(figsize=(4.5, 4))
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1)
    for predictions, label, color in ((raw, "before scaling", "#999999"), (scaled, "after", "#D55E00")):
        confidence, right, share = reliability_bins(predictions.confidence_N, predictions.hit_N, bins)
        axes.plot(confidence, right, color=color, linewidth=1, label=label)
        axes.scatter(confidence, right, s=10 + 190 * share, color=color, alpha=0.6, linewidths=0)
    axes.set(xlabel="confidence", ylabel="fraction right", xlim=(0, 1.02), ylim=(0, 1.02))
    axes.set_title("reliability (size: share of images)", fontsize=10)
    axes.legend(frameon=False, loc="upper left")
    _plain(axes)
    save(figure, path)


def roc_and_pr(path: Path, probability_NC: np.ndarray, y_N: np.ndarray, classes: Mapping[int, str]) -> None:
    """Plots one-vs-rest ROC and precision-recall curves for each of `classes`, names by number.

    Probabilities are (N, len(classes)), in their order; labels (N,).
    """
    from sklearn.metrics import precision_recall_curve, roc_curve

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8))
    colors = plt.get_cmap("tab20")(np.linspace(0, 1, max(len(classes), 2)))
    for place, (number, name) in enumerate(classes.items()):
        if not 0 < (y_N == number).sum() < len(y_N):
            continue
        false, true, _ = roc_curve(y_N == number, probability_NC[:, place])
        precision, recall, _ = precision_recall_curve(y_N == number, probability_NC[:, place])
        left.plot(false, true, color=colors[place], linewidth=1, label=name)
        right.plot(recall, precision, color=colors[place], linewidth=1)
    left.set(xlabel="false positive rate", ylabel="true positive rate", title="ROC, each class against the others")
    right.set(xlabel="recall", ylabel="precision", title="precision and recall")
    left.legend(frameon=False, fontsize=7, ncols=2)
    for cell in (left, right):
        _plain(cell)
    save(figure, path)


def risk_over_coverage(path: Path, answers: Mapping[Candidate, Answers], threshold: float, risk: float) -> None:
    """Plots the error rate among accepted images over coverage; the cross marks the chosen threshold."""
    figure, axes = plt.subplots(figsize=(5.5, 3.6))
    for name, answer in answers.items():
        coverage, risks, _ = risk_coverage(answer.scaled.confidence_N, answer.scaled.hit_N)
        axes.plot(coverage, 100 * risks, color=COLORS[name], label=name)
    tuned = answers[Candidate.TUNED].scaled
    coverage_now, risk_now = coverage_and_risk(tuned.confidence_N, tuned.hit_N, threshold)
    axes.plot([coverage_now], [100 * risk_now], "x", color="black", markersize=9, label="with the threshold")
    axes.axhline(100 * risk, color="#bbbbbb", linewidth=1)
    axes.set(xlabel="fraction of images answered", ylabel="wrong among the answers, %", xlim=(0, 1.02))
    axes.legend(frameon=False)
    _plain(axes)
    save(figure, path)


def robustness(path: Path, rows: Sequence[Mapping[str, Any]], clean: float) -> None:
    """Plots accuracy under each corruption, paler for higher strengths; the line marks the accuracy on clean images."""
    kinds = list(dict.fromkeys(row["corruption"] for row in rows))
    figure, axes = plt.subplots(figsize=(7, 0.9 + 0.55 * max(len(kinds), 1)))
    for place, kind in enumerate(kinds):
        strengths = [row for row in rows if row["corruption"] == kind]
        for step, row in enumerate(strengths):
            height = 0.8 / len(strengths)
            at = place - 0.4 + height * (step + 0.5)
            axes.barh(at, 100 * row["accuracy"], height=height, color="#D55E00", alpha=1 - 0.75 * step / len(strengths))
            axes.text(101, at, f"{row['strength']:g}: {100 * row['accuracy']:.0f}%", va="center", fontsize=7)
    axes.axvline(100 * clean, color="black", linewidth=1)
    axes.set_yticks(range(len(kinds)), kinds)
    axes.invert_yaxis()
    axes.set(xlim=(0, 100), xlabel="accuracy, % (line: the same pictures as they are)")
    _plain(axes)
    save(figure, path)


def _plain(axes: Any) -> None:  # noqa: ANN401 - matplotlib is untyped here
    axes.spines[["top", "right"]].set_visible(False)


def residuals(path: Path, predicted_NK: np.ndarray, y_NK: np.ndarray, targets: Sequence[str]) -> None:
    """Plots predicted over true values, (N, K) each, and the distribution of the residuals, one row per target."""
    figure, axes = plt.subplots(len(targets), 2, figsize=(8, 3.2 * len(targets)), squeeze=False)
    for (left, right), place in zip(axes, range(len(targets)), strict=True):
        true_N, predicted_N = y_NK[:, place], predicted_NK[:, place]
        left.plot([true_N.min(), true_N.max()], [true_N.min(), true_N.max()], color="#bbbbbb", linewidth=1)
        left.scatter(true_N, predicted_N, s=6, alpha=0.5, color="#D55E00", linewidths=0)
        left.set(xlabel=f"true {targets[place]}", ylabel="predicted")
        right.hist(predicted_N - true_N, bins=40, color="#D55E00")
        right.set(xlabel="predicted - true", ylabel="images")
        for cell in (left, right):
            cell.spines[["top", "right"]].set_visible(False)
    save(figure, path)


# Okabe and Ito's palette, which is safe for color-blind readers.


def confusion(path: Path, counts_CC: np.ndarray, classes: Sequence[str]) -> None:
    """Plots a confusion matrix, (C, C), true classes in rows; the diagonal is not colored, so that errors stand out.

    For at most MAX_CLASSES_SHOWN classes; see `confused_pairs` for more.
    """
    fraction_CC = counts_CC / np.maximum(counts_CC.sum(1, keepdims=True), 1)
    error_CC = np.where(np.eye(len(classes), dtype=bool), 0, fraction_CC)
    side = min(10.0, 2.5 + 0.42 * len(classes))
    figure, axes = plt.subplots(figsize=(side, side))
    axes.imshow(error_CC, cmap="Oranges", vmin=0, vmax=max(0.1, error_CC.max()))
    axes.set_xticks(range(len(classes)), classes, rotation=90, fontsize=8)
    axes.set_yticks(range(len(classes)), classes, fontsize=8)
    for (true, predicted), count in np.ndenumerate(counts_CC):
        axes.text(predicted, true, count or "", ha="center", va="center", fontsize=8)
    axes.set(xlabel="predicted", ylabel="true")
    save(figure, path)


def confused_pairs(path: Path, pairs: Sequence[tuple[str, int, float]]) -> None:
    """Plots how many images of a class are predicted as another: a text, the number, and its share of the class."""
    figure, axes = plt.subplots(figsize=(7, 0.9 + 0.28 * max(len(pairs), 1)))
    for place, (_, count, share) in enumerate(pairs):
        axes.barh(place, count, color="#D55E00", height=0.7)
        axes.text(count, place, f" {count}, {share:.0%} of the class", va="center", fontsize=8)
    axes.set_yticks(range(len(pairs)), [text for text, _, _ in pairs], fontsize=8)
    axes.invert_yaxis()
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(xlabel="images" if pairs else "no image is predicted wrongly", xlim=(0, None))
    _plain(axes)
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
    """Plots each model's mean score with its 95% interval, (mean, half-width), in one panel per data set."""
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
    """Plots validation loss and score over optimizer steps, one line per candidate."""
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
        cell.set(xlabel="optimizer steps", title=column.replace("_", " "))
        cell.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False)
    save(figure, path)
