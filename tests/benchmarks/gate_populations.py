"""Pairs of models with a known difference in macro F1, NLL or mean absolute error. Shapes: N images, C classes.

A population draws a sample of N images as gains per image, or as classes with two predictions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from statistics import NormalDist

import numpy as np

from tasks.gate.f1_gains import PairedPredictions
from tasks.metrics.f1 import memberships

Losses = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]  # live's and the candidate's, (N,)
LARGE = 2_000_000  # images from which a true difference is computed
SHARES: Mapping[str, Sequence[float]] = {
    "2 classes": (0.5, 0.5),
    "10 classes": (0.1,) * 10,
    "90:10": (0.9, 0.1),
    "90:7:3": (0.9, 0.07, 0.03),
}


def logits(right: float, *, noise: float = 0.0, sharper: float = 1.0, apart: float = 0.0, flips: float = 0.0) -> Losses:
    """Returns the NLL of two models: normal margins of the true class, of which `right` are positive.

    The candidate's margins are multiplied by `sharper`, partly drawn anew (`apart`), with `noise`; a share `flips` is
    wrong with the same confidence.
    """
    spread = 2.5

    def draw(random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        center = spread * NormalDist().inv_cdf(right)
        live_N = random.normal(center, spread, count)
        own_N = random.normal(center, spread, count)
        ours_N = center + (1 - apart**2) ** 0.5 * (live_N - center) + apart * (own_N - center)
        ours_N = sharper * (ours_N + noise * random.normal(size=count))
        ours_N = np.where(random.random(count) < flips, -np.abs(ours_N), ours_N)
        return np.logaddexp(0, -live_N), np.logaddexp(0, -ours_N)

    return draw


def errors(*, heavy: bool = False, rare: float = 0.0, factor: float = 1.0) -> Losses:
    """Returns absolute errors in units of the live model's mean: normal or t (3 degrees), correlated at 0.95.

    A share `rare` of the candidate's errors is multiplied by `factor`.
    """

    def draw(random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        first_N, second_N = (random.standard_t(3, count) if heavy else random.normal(size=count) for _ in range(2))
        ours_N = 0.95 * first_N + 0.3 * second_N
        ours_N = np.where(random.random(count) < rare, factor * ours_N, ours_N)
        return np.abs(first_N), np.abs(ours_N)

    return draw


NLL: Mapping[str, Losses] = {
    "90% right, noise": logits(0.9, noise=0.7),
    "97% right, noise": logits(0.97, noise=0.7),
    "90% right, apart": logits(0.9, apart=0.6),
    "97% right, sharper": logits(0.97, sharper=1.25),
    "97% right, 1% flipped": logits(0.97, noise=0.2, flips=0.01),
}
MAE: Mapping[str, Losses] = {
    "normal": errors(),
    "heavy tails": errors(heavy=True),
    "2% five times as large": errors(rare=0.02, factor=5),
    "1% ten times as large": errors(rare=0.01, factor=10),
}


@cache
def true_gain(losses: Losses) -> float:
    """Returns the mean gain of the candidate, in units of the live model's mean loss for errors."""
    live_N, ours_N = losses(np.random.default_rng(0), LARGE)
    return float((live_N - ours_N).mean())


def gains(losses: Losses, random: np.random.Generator, count: int, gain: float) -> np.ndarray:
    """Draws gains per image, (N,), whose true mean is shifted to `gain`."""
    live_N, ours_N = losses(random, count)
    return live_N - ours_N - true_gain(losses) + gain


def macro_f1_of(joint_CC: np.ndarray) -> float:
    """Returns macro F1 from the joint probabilities of true (rows) and predicted class."""
    return float((2 * np.diag(joint_CC) / (joint_CC.sum(0) + joint_CC.sum(1))).mean())


def class_joint(shares: Sequence[float], right: float, disagree: float, loss: float, *, rarest: bool) -> np.ndarray:
    """Returns the probabilities of true, candidate's and live's class, (C, C, C).

    Each model alone is right on `disagree` / 2 of the images; the candidate also loses a share `loss` of all classes or
    of the rarest one. Wrong predictions are spread evenly.
    """
    count = len(shares)
    joint = np.zeros((count, count, count))
    for y, share in enumerate(shares):
        wrong_C = np.where(np.arange(count) == y, 0, 1 / (count - 1))
        extra = 0.0 if rarest and y < count - 1 else loss
        joint[y, y, y] = share * (right - disagree / 2 - extra)
        joint[y, :, y] += share * (disagree / 2 + extra) * wrong_C
        joint[y, y, :] += share * disagree / 2 * wrong_C
        joint[y, range(count), range(count)] += share * (1 - right - disagree / 2) * wrong_C
    return joint


@cache
def losing(shares: Sequence[float], right: float, disagree: float, gain: float, rarest: bool) -> np.ndarray:
    """Returns the joint probabilities of a candidate whose macro F1 differs from live's by `gain` (bisection)."""
    low, high = -disagree / 2, right - disagree / 2
    for _ in range(50):
        middle = (low + high) / 2
        joint = class_joint(shares, right, disagree, middle, rarest=rarest)
        falls_short = macro_f1_of(joint.sum(2)) - macro_f1_of(joint.sum(1)) < gain
        low, high = (low, middle) if falls_short else (middle, high)
    return class_joint(shares, right, disagree, (low + high) / 2, rarest=rarest)


def predictions(joint: np.ndarray, random: np.random.Generator, count: int) -> PairedPredictions:
    """Draws N images from joint probabilities (C, C, C)."""
    cell_N = random.choice(joint.size, count, p=joint.ravel())
    y_N, ours_N, live_N = np.unravel_index(cell_N, joint.shape)
    return PairedPredictions(*(memberships(class_N, len(joint)) for class_N in (ours_N, live_N, y_N)))
