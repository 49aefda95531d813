"""Types that the fit loop shares with losses, batches and callbacks.

Shapes: N rows, S side, C classes, K targets, A columns of a teacher's outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """The rows of one optimizer step.

    Inputs are (N, 3, S, S), or activations (N, ...); targets are (N,) int64, (N, C) or (N, K) float32; weights are (N,)
    with a mean of 1 over all batches, or None if equal; a teacher's outputs are (N, A), or None without a teacher.
    """

    inputs: Tensor
    target: Tensor
    weight: Tensor | None = None
    teacher: Tensor | None = None


class Outputs(NamedTuple):
    """The network's outputs for all rows, (N, C) or (N, K) float32, with their targets and the teacher's outputs."""

    output: Tensor
    target: Tensor
    teacher: Tensor | None = None


class Score(NamedTuple):
    """A loss for comparing epochs (lower is better), a human-readable score, and extra columns of the curve."""

    loss: float
    score: float
    extra: Mapping[str, float] = MappingProxyType({})


Row = dict[str, float]  # a row of the training curve, by column
Forward = Callable[[Tensor], Tensor]  # inputs to outputs
Loss = Callable[[Forward, Batch], Tensor]  # a loss per row, (N,)
EpochBatches = Callable[[int], Iterable[Batch]]  # maps an epoch's number to its batches
Measure = Callable[[Tensor, Tensor], tuple[float, float]]  # maps outputs and targets to loss and score
Scoring = Callable[[Outputs], Score]


def scoring(measure: Measure) -> Scoring:
    """Returns a scoring of outputs by `measure`; a teacher's outputs are ignored."""
    return lambda outputs: Score(*measure(outputs.output, outputs.target))
