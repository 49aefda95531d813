"""How much each stage has to do: the images, or passes of images through a network, that its time grows with."""

from __future__ import annotations

from collections.abc import Callable

from tasks.core.sizing import SizingParams
from tasks.data.counts import Counts


def rows(counts: Counts, params: SizingParams) -> int:
    """Returns the number of rows of the feature matrix."""
    return counts.labeled + params.views * counts.train


def _tuned(counts: Counts, params: SizingParams) -> int:
    return (1 + params.scratch) * params.passes * (counts.train + counts.validation)


def _evaluated(counts: Counts, params: SizingParams) -> int:
    strengths = sum(len(values) for _, values in params.evaluate.corruptions)
    corrupted = min(counts.test, params.evaluate.corrupted) * strengths
    return params.candidates * (counts.validation + counts.test) + corrupted


GROWS_WITH: dict[str, Callable[[Counts, SizingParams], int]] = {  # the others look at a sample
    "ingest": lambda counts, _: counts.images,
    "validate": lambda counts, _: counts.images,
    "features": rows,
    "head": rows,
    "finetune": _tuned,
    "evaluate": _evaluated,
}


def work(stage: str, counts: Counts, params: SizingParams) -> int:
    """Returns how much a stage has to do if none of it has been done; 1 for a stage that looks at a sample only."""
    return max(1, GROWS_WITH[stage](counts, params)) if stage in GROWS_WITH else 1
