"""The gate: may a model go live? Floors on its scores, and a comparison with the live model on the same images.

Each check passes, refuses, or cannot tell (undecided). Only the comparison of the chosen metric over all images can
make a model pass; classes and slices can only refuse. Shapes: N images, B bootstrap resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist

import numpy as np
from scipy.stats import t as student

from tasks.core.schema import Metric

NORMAL = NormalDist()


class Verdict(StrEnum):
    """What the gate says."""

    PASS = "pass"  # noqa: S105 - no password
    REFUSED = "refused"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Check:
    """One line of the verdict: what was asked, what was found, and what that means."""

    what: str
    found: str
    wanted: str
    verdict: Verdict


@dataclass(frozen=True)
class Pair:
    """Scores of an image's two answers, (N,) each, higher is better: of the candidate and of the live model."""

    candidate_N: np.ndarray
    live_N: np.ndarray


def overall(checks: Sequence[Check]) -> Verdict:
    """Refused if one check refuses, else undecided if one is, else pass."""
    found = {check.verdict for check in checks}
    return next((v for v in (Verdict.REFUSED, Verdict.UNDECIDED) if v in found), Verdict.PASS)


def floor(name: str, value: float, limit: float, *, higher_is_better: bool) -> Check:
    """A score against its limit: a least value, or a greatest one where lower is better."""
    well = value >= limit if higher_is_better else value <= limit
    wanted = f"at {'least' if higher_is_better else 'most'} {limit:g}"
    return Check(name, f"{value:.4g}", wanted, Verdict.PASS if well else Verdict.REFUSED)


def floors(limits: Mapping[Metric, float], scores: Mapping[str, float]) -> list[Check]:
    """The scores that a model must reach whatever the live one does; a limit on a score that it has not is no limit."""
    return [
        floor(f"{metric} on test", scores[metric], limit, higher_is_better=metric.higher_is_better)
        for metric, limit in limits.items()
        if metric in scores
    ]


def difference(what: str, low: float, high: float, found: float, margin: float) -> Check:
    """Pass if the candidate surely loses less than `margin`; else refused if surely worse; else undecided.

    `low` and `high` are one-sided bounds of candidate minus live.
    """
    wanted = f"more than {-margin:+g}, beyond doubt"
    verdict = Verdict.PASS if low > -margin else Verdict.REFUSED if high < 0 else Verdict.UNDECIDED
    found, low, high = (round(number, 4) + 0.0 for number in (found, low, high))  # no "-0.0000"
    told = f"{found:+.4f}, between {low:+.4f} and {high:+.4f}"
    return Check(what, told, wanted, verdict)


def compare_hits(pair: Pair, margin: float, error: float, what: str = "accuracy against live") -> Check:
    """The paired difference of hit rates (scores of 0 and 1), by Tango's interval, which is McNemar's test at 0."""
    better, worse, count = discordant(pair)
    low, high = tango_bounds(better, worse, count, error)
    return difference(what, low, high, (better - worse) / count, margin)


def compare_scores(
    score: Callable[[np.ndarray], float],
    count: int,
    margin: float,
    error: float,
    resamples: int,
    seed: int,
    what: str,
    least: int = 2,
) -> Check:
    """The paired bootstrap of a difference: `score` maps rows to candidate minus live.

    Its percentiles are further out for few images, as Student's are than the normal ones (Hesterberg, "What Teachers
    Should Know About the Bootstrap", 2015). Undecided for fewer than `least` images.
    """
    if count < max(least, 2):
        return Check(what, f"{score(np.arange(count)):+.4f}", f"{max(least, 2)} images or more", Verdict.UNDECIDED)
    random = np.random.default_rng(seed)
    draws = [score(random.integers(0, count, count)) for _ in range(resamples)]
    outer = NORMAL.cdf(math.sqrt(count / (count - 1)) * float(student.ppf(error, count - 1)))
    low, high = (float(bound) for bound in np.quantile(draws, [outer, 1 - outer]))
    return difference(what, low, high, score(np.arange(count)), margin)


def least_images(margin: float, error: float) -> int:
    """How many images it takes for two models that answer all of them alike to pass, by Tango's interval."""
    z = NORMAL.inv_cdf(1 - error)
    return math.floor(z * z * (1 - margin) / margin) + 1


def compare_groups(groups: Mapping[str, Pair], margin: float, error: float) -> list[Check]:
    """Refuses for each class or slice whose hit rate fell by more than `margin` beyond doubt.

    All groups together err with probability `error` at most (Holm, 1979); a group can never make a model pass.
    """
    found = {name: discordant(pair) for name, pair in groups.items()}
    chances = {name: NORMAL.cdf(tango_z(*counts, -margin)) for name, counts in found.items()}
    checks = []
    for name, adjusted in holm(chances).items():
        if adjusted < error:
            better, worse, count = found[name]
            told = f"{(better - worse) / count:+.3f} on {count} images (p {adjusted:.2g})"
            checks.append(Check(f"hit rate against live, {name}", told, f"no loss above {margin:g}", Verdict.REFUSED))
    return checks


def compare_gains(groups: Mapping[str, np.ndarray], margin: float, error: float) -> list[Check]:
    """The same for slices of images with a gain each, (N,), by Student's t test of their mean."""
    chances = {
        name: float(student.cdf(_standard_score(gain_N, -margin), max(len(gain_N) - 1, 1)))
        for name, gain_N in groups.items()
    }
    checks = []
    for name, adjusted in holm(chances).items():
        if adjusted < error:
            told = f"{groups[name].mean():+.3f} on {len(groups[name])} images (p {adjusted:.2g})"
            checks.append(Check(f"gain against live, {name}", told, f"no loss above {margin:g}", Verdict.REFUSED))
    return checks


def _standard_score(gain_N: np.ndarray, at: float) -> float:
    """How many standard errors the mean gain lies above `at`; 0 for fewer than two images."""
    if len(gain_N) < 2:
        return 0.0
    error = max(float(gain_N.std(ddof=1)) / math.sqrt(len(gain_N)), 1e-12)
    return (float(gain_N.mean()) - at) / error


def discordant(pair: Pair) -> tuple[int, int, int]:
    """Images that only the candidate gets right, that only the live model gets right, and all."""
    candidate, live = pair.candidate_N > 0.5, pair.live_N > 0.5
    return int((candidate & ~live).sum()), int((live & ~candidate).sum()), len(candidate)


def tango_z(better: int, worse: int, count: int, at: float) -> float:
    """Tango's score statistic for a paired difference of `at` (Statistics in Medicine 17, 1998); McNemar's at 0.

    Large where the true difference is likely above `at`. 0 where nothing speaks for either.
    """
    a = 2 * count
    b = -better - worse + (2 * count - better + worse) * at
    c = -worse * at * (1 - at)
    only_live = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = count * (2 * only_live + at * (1 - at))
    distance = better - worse - count * at
    if variance <= 0:
        return 0.0 if distance == 0 else math.copysign(math.inf, distance)
    return distance / math.sqrt(variance)


def tango_bounds(better: int, worse: int, count: int, error: float) -> tuple[float, float]:
    """Bounds below and above which the true difference lies with probability `error` each."""
    z = NORMAL.inv_cdf(1 - error)
    return _where_z_is(z, better, worse, count), _where_z_is(-z, better, worse, count)


def _where_z_is(wanted: float, better: int, worse: int, count: int) -> float:
    """The difference at which the statistic, which falls with it, has this value; by bisection."""
    low, high = -1.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if tango_z(better, worse, count, middle) > wanted else (low, middle)
    return (low + high) / 2


def holm(chances: Mapping[str, float]) -> dict[str, float]:
    """The adjusted p-values of several tests (Holm, 1979), smallest first."""
    adjusted, least = {}, 0.0
    for place, (name, chance) in enumerate(sorted(chances.items(), key=lambda item: item[1])):
        least = max(least, min(1.0, chance * (len(chances) - place)))
        adjusted[name] = least
    return adjusted
