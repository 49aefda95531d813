"""The gate: may a model go live? Floors on its scores, and a comparison with the live model on the same images.

Each check passes, refuses, or cannot tell (undecided). Only the comparison of the chosen metric over all images can
make a model pass; classes and slices can only refuse. Shapes: N images, B bootstrap resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from tasks.core.schema import Metric
from tasks.gate.paired_tests import NORMAL, PairedScores, discordant, holm, tango_bounds, tango_z


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


def overall(checks: Sequence[Check]) -> Verdict:
    """Refused if one check refuses, else undecided if one is, else pass."""
    verdicts = {check.verdict for check in checks}
    return next((v for v in (Verdict.REFUSED, Verdict.UNDECIDED) if v in verdicts), Verdict.PASS)


def floor(name: str, value: float, limit: float, *, higher_is_better: bool) -> Check:
    """A score against its limit: a least value, or a greatest one where lower is better."""
    reached = value >= limit if higher_is_better else value <= limit
    required = f"at {'least' if higher_is_better else 'most'} {limit:g}"
    return Check(name, f"{value:.4g}", required, Verdict.PASS if reached else Verdict.REFUSED)


def floors(limits: Mapping[Metric, float], scores: Mapping[str, float]) -> list[Check]:
    """The scores that a model must reach whatever the live one does; a limit on a score that it has not is no limit."""
    return [
        floor(f"{metric} on test", scores[metric], limit, higher_is_better=metric.higher_is_better)
        for metric, limit in limits.items()
        if metric in scores
    ]


def difference(what: str, low: float, high: float, estimate: float, margin: float, error: float) -> Check:
    """Judges a difference, candidate minus live, by its one-sided bounds, each wrong with probability `error`.

    Pass if it is above `-margin` at the confidence level 1 - `error`; else refused if it is below 0 at that level;
    else undecided.
    """
    verdict = Verdict.PASS if low > -margin else Verdict.REFUSED if high < 0 else Verdict.UNDECIDED
    estimate, low, high = (round(number, 4) + 0.0 for number in (estimate, low, high))  # no "-0.0000"
    interval = f"{estimate:+.4f}, between {low:+.4f} and {high:+.4f}"
    required = f"more than {-margin:+g} at the {100 * (1 - error):g}% confidence level"
    return Check(what, interval, required, verdict)


def compare_hits(pair: PairedScores, margin: float, error: float, what: str = "accuracy against live") -> Check:
    """The paired difference of hit rates (scores of 0 and 1), by Tango's interval, which is McNemar's test at 0."""
    better, worse, count = discordant(pair)
    low, high = tango_bounds(better, worse, count, error)
    return difference(what, low, high, (better - worse) / count, margin, error)


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
    from scipy.stats import t as student

    random = np.random.default_rng(seed)
    draws = [score(random.integers(0, count, count)) for _ in range(resamples)]
    outer = NORMAL.cdf(math.sqrt(count / (count - 1)) * float(student.ppf(error, count - 1)))
    low, high = (float(bound) for bound in np.quantile(draws, [outer, 1 - outer]))
    return difference(what, low, high, score(np.arange(count)), margin, error)


def compare_groups(groups: Mapping[str, PairedScores], margin: float, error: float) -> list[Check]:
    """Refuses for each class or slice whose hit rate fell by more than `margin` at the confidence level 1 - `error`.

    The level holds for all groups together (Holm, 1979); a group can never make a model pass.
    """
    counts = {name: discordant(pair) for name, pair in groups.items()}
    chances = {name: NORMAL.cdf(tango_z(*count, -margin)) for name, count in counts.items()}
    checks = []
    for name, adjusted in holm(chances).items():
        if adjusted < error:
            better, worse, count = counts[name]
            change = f"{(better - worse) / count:+.3f} on {count} images (p {adjusted:.2g})"
            checks.append(Check(f"hit rate against live, {name}", change, f"no loss above {margin:g}", Verdict.REFUSED))
    return checks


def compare_gains(groups: Mapping[str, np.ndarray], margin: float, error: float) -> list[Check]:
    """The same for slices of images with a gain each, (N,), by Student's t test of their mean."""
    from scipy.stats import t as student

    chances = {
        name: float(student.cdf(_standard_score(gain_N, -margin), max(len(gain_N) - 1, 1)))
        for name, gain_N in groups.items()
    }
    checks = []
    for name, adjusted in holm(chances).items():
        if adjusted < error:
            change = f"{groups[name].mean():+.3f} on {len(groups[name])} images (p {adjusted:.2g})"
            checks.append(Check(f"gain against live, {name}", change, f"no loss above {margin:g}", Verdict.REFUSED))
    return checks


def _standard_score(gain_N: np.ndarray, at: float) -> float:
    """How many standard errors the mean gain lies above `at`; 0 for fewer than two images."""
    if len(gain_N) < 2:
        return 0.0
    error = max(float(gain_N.std(ddof=1)) / math.sqrt(len(gain_N)), 1e-12)
    return (float(gain_N.mean()) - at) / error
