"""How often the printed 95% intervals contain the truth, with rare classes, few errors and rare large errors.

Before: a percentile bootstrap. Classes occur in every sample, as in the splits that ingest makes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from tasks.metrics.f1 import memberships
from tasks.metrics.intervals import f1_interval, hit_interval, mean_interval, nll_interval
from tasks.reports.page import markdown_table
from tests.benchmarks.gate_populations import LARGE, MAE, SHARES, class_joint, logits, macro_f1_of
from tests.benchmarks.results import Results

Bounds = tuple[float, float] | None
Draw = Callable[[np.random.Generator, int, bool], tuple[Bounds, Bounds]]  # the interval; on request, the earlier
SAMPLES, SAMPLES_BEFORE, RESAMPLES = 2000, 300, 300
SIZES = (60, 300, 1000)
RIGHT = (0.8, 0.92, 0.98)


def run(results: Results) -> str:
    """Returns a table of coverages."""
    rows = []
    for name, (truth, draw) in cases().items():
        coverages = [results.measured(f"{name}, {size}", partial(coverage, truth, draw, size)) for size in SIZES]
        rows.append([name, *(text(**each) for each in coverages)])
    columns = ["covered, % (before)", *(f"{size} images" for size in SIZES)]
    return f"{markdown_table(columns, rows)}\n\n{SAMPLES} samples ({SAMPLES_BEFORE} before)"


def text(covered: float, before: float, printed: float) -> str:
    """Formats a coverage; an interval that is not always printed says how often."""
    shown = f"{100 * covered:.1f}" if printed else "none"
    rare = f", printed in {100 * printed:.0f}%" if 0 < printed < 1 else ""
    return f"{shown} ({100 * before:.1f}){rare}"


def coverage(truth: float, draw: Draw, size: int) -> dict[str, float]:
    """Returns the coverage of the printed intervals, that of the bootstrap, and the share that is printed."""
    random = np.random.default_rng(size)
    both = [draw(random, size, number < SAMPLES_BEFORE) for number in range(SAMPLES)]
    now = [bounds for bounds, _ in both if bounds]
    before = [bounds for _, bounds in both if bounds]
    inside = [[low <= truth <= high for low, high in each] for each in (now, before)]
    covered, earlier = (float(np.mean(each)) if each else 0.0 for each in inside)
    return {"covered": covered, "before": earlier, "printed": len(now) / SAMPLES}


def cases() -> dict[str, tuple[float, Draw]]:
    """Returns the truth and the drawing of each population."""
    by_name: dict[str, tuple[float, Draw]] = {}
    for name, shares in SHARES.items():
        for right in RIGHT:
            joint = class_joint(shares, right, 0.0, 0.0, rarest=False).sum(2)
            by_name[f"macro F1, {name}, {100 * right:g}% right"] = (macro_f1_of(joint), partial(classes, joint))
    for right in (*RIGHT, 0.99):
        by_name[f"accuracy, {100 * right:g}% right"] = (right, partial(hits, right))
        losses = partial(first, logits(right))
        by_name[f"NLL, {100 * right:g}% right"] = (mean_of(losses), partial(nll, losses))
    for name, errors in MAE.items():
        sizes = partial(second, errors)
        by_name[f"MAE, {name}"] = (mean_of(sizes), partial(errors_of, sizes))
    return by_name


def classes(joint: np.ndarray, random: np.random.Generator, size: int, both: bool) -> tuple[Bounds, Bounds]:
    """Draws true and predicted classes, (N,), until every class occurs, and returns the intervals of macro F1."""
    while True:
        y_N, predicted_N = np.unravel_index(random.choice(joint.size, size, p=joint.ravel()), joint.shape)
        if len(np.unique(y_N)) == len(joint):
            break
    now = f1_interval(*(memberships(class_N, len(joint)) for class_N in (predicted_N, y_N)), exclusive=True)
    if not both:
        return now, None
    counts = np.histogram2d(y_N, predicted_N, bins=[np.arange(len(joint) + 1)] * 2)[0]
    draws = random.multinomial(size, counts.ravel() / size, RESAMPLES).reshape(-1, *joint.shape)
    scores = [macro_f1_of(draw[np.ix_(*[draw.sum(0) + draw.sum(1) > 0] * 2)]) for draw in draws]
    return now, percentiles(scores)


def hits(right: float, random: np.random.Generator, size: int, both: bool) -> tuple[Bounds, Bounds]:
    """Returns the interval of a drawn accuracy; it was the same before."""
    bounds = hit_interval(float((random.random(size) < right).mean()), size)
    return bounds, bounds if both else None


def nll(
    losses: Callable[[np.random.Generator, int], np.ndarray], random: np.random.Generator, size: int, both: bool
) -> tuple[Bounds, Bounds]:
    """Returns the intervals of a drawn NLL; an NLL above log 2 is an error."""
    loss_N = losses(random, size)
    return nll_interval(loss_N, int((loss_N > math.log(2)).sum())), bootstrap(loss_N, random) if both else None


def errors_of(
    sizes: Callable[[np.random.Generator, int], np.ndarray], random: np.random.Generator, size: int, both: bool
) -> tuple[Bounds, Bounds]:
    """Returns the intervals of drawn errors."""
    error_N = sizes(random, size)
    return mean_interval(error_N), bootstrap(error_N, random) if both else None


def bootstrap(value_N: np.ndarray, random: np.random.Generator) -> Bounds:
    """Returns the percentile interval of the mean."""
    size = len(value_N)
    return percentiles(random.multinomial(size, np.full(size, 1 / size), RESAMPLES) @ value_N / size)


def percentiles(scores: object) -> Bounds:
    """Returns the 2.5th and the 97.5th percentile."""
    low, high = np.quantile(np.asarray(scores, float), [0.025, 0.975])
    return float(low), float(high)


def first(losses: Callable[..., tuple[np.ndarray, np.ndarray]], random: np.random.Generator, count: int) -> np.ndarray:
    """Returns the losses of the first model, (N,)."""
    return losses(random, count)[0]


def second(losses: Callable[..., tuple[np.ndarray, np.ndarray]], random: np.random.Generator, count: int) -> np.ndarray:
    """Returns the losses of the second model, (N,)."""
    return losses(random, count)[1]


def mean_of(values: Callable[[np.random.Generator, int], np.ndarray]) -> float:
    """Returns the true mean, from a large sample."""
    return float(values(np.random.default_rng(0), LARGE).mean())
