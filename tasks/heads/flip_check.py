"""Checks that horizontally flipped images keep their labels: a probe should recognize mirror images just as well.

Shapes: N images, D features, C classes or labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.core.progress import counted
from tasks.core.schema import Column
from tasks.core.sections import FlipCheck
from tasks.core.target import TargetSpec
from tasks.data.folds import FOLDS, folds_by_group
from tasks.gate.paired_tests import holm
from tasks.hardware.device import Device
from tasks.heads.cross_validation import kernel_of, scores_of
from tasks.images.loading import ImageSquares, prefetch
from tasks.models.backbone import Backbone, embed

SAMPLE_SIZE, MAX_CLASSES = 400, 50  # images, and classes of them
MIN_GROUPS = 10  # with fewer, no p-value of a paired test is below MAX_P_VALUE
MIN_DROP, MAX_P_VALUE = 0.1, 0.001  # flips are turned off if hits fall by more than this, at this significance
MAX_P_CHANCE = 0.05  # of the probe on original images against the most frequent label


@dataclass(frozen=True)
class HeldOut:
    """Which outputs are right on held-out images, (N, C) bool each: originals, mirror images, and originals again.

    The last ones are of a probe that was trained on mirror images, too.
    """

    original_NC: np.ndarray
    mirrored_NC: np.ndarray
    with_copies_NC: np.ndarray


def compare_mirrored(
    root: Path, train: pd.DataFrame, target: TargetSpec, backbone: Backbone, device: Device, batch: int
) -> FlipCheck:
    """Compares a cross-validated probe's hits on training images with its hits on their mirror images."""
    rows = sample_images(train)
    if rows[Column.GROUP].nunique() < MIN_GROUPS:
        return FlipCheck(outcome="undecided", images=len(rows))
    both = embed_both_ways(root, list(rows[Column.PATH]), backbone, device, batch)
    truth = target.encode(rows)
    return judge(rows, truth, target.classes, cross_validate(*both, truth, folds_by_group(rows)))


def describe(check: FlipCheck) -> str:
    """Returns the outcome in one line."""
    unchecked = "augment.flip stays on, unchecked, so look at the preview:"
    if check.original is None:
        return f"{unchecked} {check.images} training images are too few for a probe"
    if check.outcome == "undecided":
        return f"{unchecked} a probe recognizes {check.original:.0%} of {check.images} images, not above chance"
    rates = f"{check.original:.0%} of {check.images} images and {check.mirrored:.0%} of their mirror images"
    rates = f"a probe recognizes {rates}; trained on both, {check.with_copies:.0%} of the images"
    if check.outcome == "kept":
        return f"augment.flip stays on: {rates}"
    names = ", ".join([*check.classes[:3], *(["..."] if len(check.classes) > 3 else [])])
    falling = f"; significantly fewer of {names}" if names else ""
    return f"augment.flip is turned off: {rates}{falling} (augment.check: false leaves it on)"


def sample_images(train: pd.DataFrame) -> pd.DataFrame:
    """Returns up to SAMPLE_SIZE rows, in the order of their pixel hashes: classes in turn, and in each, its groups."""
    ordered = train.sort_values(Column.PIXEL_HASH)
    ordered = ordered[ordered[Column.LABEL].isin(ordered[Column.LABEL].unique()[:MAX_CLASSES])]
    ordered = ordered.iloc[ordered.groupby([Column.LABEL, Column.GROUP]).cumcount().argsort(kind="stable")]
    ordered = ordered.iloc[ordered.groupby(Column.LABEL).cumcount().argsort(kind="stable")]
    return ordered.head(SAMPLE_SIZE).reset_index(drop=True)


def embed_both_ways(
    root: Path, files: Sequence[str], backbone: Backbone, device: Device, batch: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the features of the images and of their mirror images, (N, D) float32 each; a file is decoded once."""
    squares = ImageSquares(root, files, backbone.preprocessing, memory=0)
    module = device.place(backbone.module)
    starts = range(0, len(files), batch)
    read = prefetch(device.stage(squares[range(start, min(start + batch, len(files)))]) for start in starts)
    parts: list[list[np.ndarray]] = []
    for square_B3RR in counted(read, len(starts), "batches of mirror images embedded"):
        x_B3SS = backbone.preprocessing.network_input(square_B3RR.to(device.device))
        with device.autocast():
            parts.append([embed(module, device.place(x)).cpu().numpy() for x in (x_B3SS, x_B3SS.flip(-1))])
    original_ND, mirrored_ND = (np.concatenate(part) for part in zip(*parts, strict=True))
    return original_ND, mirrored_ND


def cross_validate(original_ND: np.ndarray, mirrored_ND: np.ndarray, truth: np.ndarray, fold_N: np.ndarray) -> HeldOut:
    """Tests probes on the images of each fold, trained on the other folds; `truth` is of classes or labels."""
    kernel = kernel_of(np.concatenate([original_ND, mirrored_ND]))
    has_NC = one_hot(truth)
    has = np.concatenate([has_NC, has_NC])  # (2N, C): the images, then their mirror images
    results = [np.empty(has_NC.shape, bool) for _ in range(3)]
    count = len(fold_N)
    for fold in range(FOLDS):
        held, rest = np.flatnonzero(fold_N == fold), np.flatnonzero(fold_N != fold)
        both = np.concatenate([rest, count + rest])
        for result, (train, asked) in zip(results, ((rest, held), (rest, count + held), (both, held)), strict=True):
            result[held] = right_outputs(scores_of(kernel, has, train, asked), truth[held])
    return HeldOut(*results)


def one_hot(truth: np.ndarray) -> np.ndarray:
    """Returns 1 for each image's class (N,) or labels (N, C), and 0 elsewhere, (N, C)."""
    return truth if truth.ndim == 2 else np.eye(truth.max() + 1)[truth]


def right_outputs(score_NC: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Returns which outputs are right, (N, C) bool, for classes (N,) or labels (N, C).

    If an image's class is confused, the outputs of both classes are wrong.
    """
    if truth.ndim == 2:
        return np.asarray((score_NC > 0.5) == (truth > 0.5))
    classes = np.arange(score_NC.shape[1])
    return np.asarray((score_NC.argmax(1)[:, None] == classes) == (truth[:, None] == classes))


def judge(rows: pd.DataFrame, truth: np.ndarray, names: Sequence[str], results: HeldOut) -> FlipCheck:
    """Returns the outcome: undecided if hits are not above chance; off if they fall, over all images or in a class."""
    group_N = rows[Column.GROUP].to_numpy()
    hit_N, mirrored_N = np.asarray(results.original_NC.all(1)), np.asarray(results.mirrored_NC.all(1))
    p_value = sign_test(hit_N, mirrored_N, group_N)
    classes = falling_classes(one_hot(truth) > 0, names, results, group_N)
    falls = hit_N.mean() - mirrored_N.mean() > MIN_DROP and p_value < MAX_P_VALUE
    most_frequent_N = (rows[Column.LABEL] == rows[Column.LABEL].mode()[0]).to_numpy()
    is_above_chance = sign_test(hit_N, most_frequent_N, group_N) < MAX_P_CHANCE
    return FlipCheck(
        outcome="undecided" if not is_above_chance else "off" if falls or classes else "kept",
        images=len(rows),
        original=round(float(hit_N.mean()), 4),
        mirrored=round(float(mirrored_N.mean()), 4),
        p_value=float(f"{p_value:.2g}"),
        with_copies=round(float(results.with_copies_NC.all(1).mean()), 4),
        classes=classes,
    )


def falling_classes(has_NC: np.ndarray, names: Sequence[str], results: HeldOut, group_N: np.ndarray) -> tuple[str, ...]:
    """Returns the classes or labels of which images are recognized less well when mirrored (Holm, 1979)."""
    drops, p_values = {}, {}
    for place in np.flatnonzero(has_NC.any(0)).tolist():
        has_N, name = has_NC[:, place], names[place]
        original_N, mirrored_N = results.original_NC[has_N, place], results.mirrored_NC[has_N, place]
        drops[name] = original_N.mean() - mirrored_N.mean()
        p_values[name] = sign_test(original_N, mirrored_N, group_N[has_N])
    adjusted = holm(p_values)
    return tuple(name for name in drops if drops[name] > MIN_DROP and adjusted[name] < MAX_P_VALUE)


def sign_test(first_N: np.ndarray, second_N: np.ndarray, group_N: np.ndarray) -> float:
    """Returns the exact one-sided p-value of `first` being right more often than `second`, (N,) bool each.

    It compares sums per group, since the images of a group are not independent. If each image is a group of its own,
    it is the exact test of McNemar (1947).
    """
    gain = pd.Series(first_N.astype(int) - second_N.astype(int)).groupby(group_N).sum()
    better, discordant = int((gain > 0).sum()), int((gain != 0).sum())
    return float(sum(comb(discordant, k) for k in range(better, discordant + 1)) / 2**discordant)
