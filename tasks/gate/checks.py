"""Checks of the gate: limits on a model's scores, and statistical comparisons with the live model on the same images.

Each check passes, refuses or is undecided. Only the comparison of the chosen metric over all images can make a model
pass; class and slice checks can only refuse it. Shapes: N images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from tasks.core.schema import Metric
from tasks.gate.paired_tests import (
    NORMAL,
    PairedScores,
    discordant,
    holm,
    mean_bounds,
    t_statistic,
    tango_bounds,
    tango_z,
    with_a_loss,
)


class Verdict(StrEnum):
    """The decision of a check or of the gate; a note, which only checks have, decides nothing."""

    PASS = "pass"  # noqa: S105 - not a password
    REFUSED = "refused"
    UNDECIDED = "undecided"
    NOTE = "note"


@dataclass(frozen=True)
class Check:
    """A row of the verdict: quantity, value, requirement and decision. The field names are keys in verdict.json."""

    what: str
    found: str
    wanted: str
    verdict: Verdict


def overall(checks: Sequence[Check]) -> Verdict:
    """Returns refused if any check is refused, else undecided if any is undecided, else pass."""
    verdicts = {check.verdict for check in checks}
    return next((v for v in (Verdict.REFUSED, Verdict.UNDECIDED) if v in verdicts), Verdict.PASS)


def floor(name: str, value: float, limit: float, *, higher_is_better: bool) -> Check:
    """Checks a score against its limit: a minimum, or a maximum if lower is better."""
    reached = value >= limit if higher_is_better else value <= limit
    required = f"at {'least' if higher_is_better else 'most'} {limit:g}"
    return Check(name, f"{value:.4g}", required, Verdict.PASS if reached else Verdict.REFUSED)


def floors(limits: Mapping[Metric, float], scores: Mapping[str, float]) -> list[Check]:
    """Checks scores against fixed limits, regardless of the live model; limits on missing scores are ignored.

    With several targets, a limit on an error in their units leaves the verdict undecided, since there is none.
    """
    checks = [
        floor(f"{metric} on test", scores[metric], limit, higher_is_better=metric.higher_is_better)
        for metric, limit in limits.items()
        if metric in scores
    ]
    unmeasured = {Metric.MAE, Metric.RMSE} & set(limits) if Metric.SCALED_MAE in scores else set()
    required = f"gate.floors.{Metric.SCALED_MAE} for several targets"
    return checks + [Check(f"{m} on test", "not measured", required, Verdict.UNDECIDED) for m in sorted(unmeasured)]


def difference(what: str, low: float, high: float, estimate: float, margin: float, error: float) -> Check:
    """Checks a difference, candidate minus live, using one-sided confidence bounds at the level 1 - `error` each.

    Passes if the lower bound is above `-margin`; else refuses if the upper bound is below 0; else it is undecided.
    """
    verdict = Verdict.PASS if low > -margin else Verdict.REFUSED if high < 0 else Verdict.UNDECIDED
    estimate, low, high = (round(number, 4) + 0.0 for number in (estimate, low, high))  # + 0.0 turns -0.0 into 0.0
    interval = f"{estimate:+.4f}, between {low:+.4f} and {high:+.4f}"
    required = f"more than {-margin:+g} at the {100 * (1 - error):g}% confidence level"
    return Check(what, interval, required, verdict)


def compare_hits(pair: PairedScores, margin: float, error: float, what: str = "accuracy against live") -> Check:
    """Checks the paired difference of hit rates using Tango's interval, which reduces to McNemar's test at 0."""
    better, worse, count = discordant(pair)
    low, high = tango_bounds(better, worse, count, error)
    return difference(what, low, high, (better - worse) / count, margin, error)


def compare_means(gain_N: np.ndarray, margin: float, error: float, what: str) -> Check:
    """Checks the mean gain per image, (N,), candidate minus live, by Student's t with one more large loss."""
    low, high = mean_bounds(gain_N, error)
    return difference(what, low, high, float(gain_N.mean()), margin, error)


def compare_groups(groups: Mapping[str, PairedScores], margin: float, error: float) -> list[Check]:
    """Returns a failing check for each class or slice whose hit rate has fallen significantly by more than `margin`.

    The confidence level 1 - `error` holds jointly for all groups (Holm, 1979).
    """
    counts = {name: discordant(pair) for name, pair in groups.items()}
    p_values = {name: NORMAL.cdf(tango_z(*count, -margin)) for name, count in counts.items()}
    checks = []
    for name, adjusted in holm(p_values).items():
        if adjusted < error:
            better, worse, count = counts[name]
            change = f"{(better - worse) / count:+.3f} on {count} images (p {adjusted:.2g})"
            checks.append(Check(f"hit rate against live, {name}", change, f"no loss above {margin:g}", Verdict.REFUSED))
    return checks


def compare_gains(groups: Mapping[str, np.ndarray], margin: float, error: float) -> list[Check]:
    """Returns a failing check for each slice whose mean loss per image significantly exceeds `margin` (Student's t).

    `groups` maps each slice to its gains per image, (N,), the negative losses; each gets one more large gain, so that
    a few large losses do not decide.
    """
    from scipy.stats import t as student

    p_values = {}
    for name, gain_N in groups.items():
        cautious_N = -with_a_loss(-gain_N)
        p_values[name] = float(student.cdf(t_statistic(cautious_N, -margin), max(len(cautious_N) - 1, 1)))
    checks = []
    for name, adjusted in holm(p_values).items():
        if adjusted < error:
            change = f"{groups[name].mean():+.3f} on {len(groups[name])} images (p {adjusted:.2g})"
            checks.append(Check(f"gain against live, {name}", change, f"no loss above {margin:g}", Verdict.REFUSED))
    return checks
