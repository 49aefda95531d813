"""The types that the fit loop and what rides on it share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from torch import Tensor

from tasks.training.state import Row

# Inputs (N, 3, S, S), classes (N,), and where rows count differently, weights (N,): 1 on average over all batches.
Batch = tuple[Tensor, ...]


Batches = Callable[[int], Iterable[Batch]]  # of an epoch


Objective = Callable[[Callable[[Tensor], Tensor], Tensor, Tensor], Tensor]  # of network, inputs, truth: a loss a row


Scored = tuple[float, float] | tuple[float, float, Row]  # a loss, how good that is, and more columns of the curve


Measure = Callable[[Tensor, Tensor], tuple[float, float]]  # of outputs and truth: loss, and how good that is


MeasureMore = Callable[[Tensor, Tensor], Scored]


Judge = Callable[[Sequence[Row]], bool]  # of the curve so far
