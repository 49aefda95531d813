"""Computes a batch that the device's memory cannot hold in micro-batches.

Gradients add up to those of the whole batch, except under BatchNorm that learns statistics, CORAL and MCC: these look
at all rows together and take a micro-batch for the whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from tasks.core.errors import RootstockError
from tasks.core.progress import say
from tasks.hardware.distributed import all_reduce_min, count

Result = TypeVar("Result")
Rows = TypeVar("Rows", bound=tuple[Tensor | None, ...])


class MicroBatches:
    """The number of micro-batches in a batch: as asked for, doubled each time the device is out of memory."""

    def __init__(self, count: int = 1) -> None:
        self.count = count

    def run_with_retry(self, attempt: Callable[[list[Rows]], Result], batch: Rows) -> Result:
        """Calls `attempt` on the micro-batches of `batch`; on CUDA out-of-memory doubles their number and retries.

        Raises RootstockError if a single row does not fit, and where several processes share a fit, since one of them
        cannot retry while the others go on.
        """
        while True:
            try:
                return attempt(self.of(batch))
            except torch.OutOfMemoryError:
                if count() > 1:
                    raise RootstockError(
                        f"the device's memory cannot hold a batch in {self.count} parts: raise finetune.parts"
                    ) from None
                if self.count >= _length(batch):
                    raise RootstockError(
                        "the device's memory cannot hold one image's pass: take a smaller backbone or backbone.crop, "
                        "let fewer blocks learn (finetune.blocks), or set compute.device to cpu"
                    ) from None
            self.count *= 2
            say(f"out of memory: batches are computed in {self.count} parts from here on")
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def of(self, batch: Rows) -> list[Rows]:
        """Splits the rows into nearly equal micro-batches, none empty; into as many in every process of a fit."""
        parts = min(self.count, all_reduce_min(_length(batch), _device(batch))) if self.count > 1 else 1
        columns = [[None] * parts if rows is None else rows.tensor_split(parts) for rows in batch]
        make: Any = getattr(batch, "_make", tuple)  # a named tuple stays one
        return [make(rows) for rows in zip(*columns, strict=True)]


def _length(batch: tuple[Tensor | None, ...]) -> int:
    return next(len(rows) for rows in batch if rows is not None)


def _device(batch: tuple[Tensor | None, ...]) -> torch.device:
    return next(rows.device for rows in batch if rows is not None)
