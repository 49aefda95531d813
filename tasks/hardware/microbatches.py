"""Splits batches that do not fit into the device's memory into micro-batches.

Gradients add up to those of the whole batch, except with BatchNorm in training mode, CORAL and MCC, which depend on all
rows jointly but see only one micro-batch at a time. Shapes: N rows of a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from tasks.core.errors import RootstockError
from tasks.core.progress import say
from tasks.hardware.distributed import all_reduce_min, count

OUT_OF_MEMORY = "out-of-memory"  # key of the error if a single image does not fit

Result = TypeVar("Result")
Rows = TypeVar("Rows", bound=tuple[Tensor | None, ...])


class MicroBatches:
    """The number of micro-batches per batch, doubled each time the device runs out of memory."""

    def __init__(self, count: int = 1) -> None:
        self.count = count

    def run_with_retry(self, attempt: Callable[[list[Rows]], Result], batch: Rows) -> Result:
        """Calls `attempt` on micro-batches of `batch`, (N, ...); on CUDA out-of-memory, doubles their number.

        It retries until the micro-batches fit. Raises RootstockError if a single row does not fit, or if the fit runs
        on several processes, since one process cannot retry while the others continue.
        """
        while True:
            try:
                return attempt(self.of(batch))
            except torch.OutOfMemoryError:
                if count() > 1:
                    raise RootstockError(
                        f"finetune.parts: the device ran out of memory with {self.count} micro-batches; raise it, "
                        "or set finetune.recipe to fixed if the whole network does not fit",
                        key="finetune.parts",
                    ) from None
                if self.count >= _length(batch):
                    raise RootstockError(
                        "the device ran out of memory with one image: take a smaller backbone or backbone.crop, train "
                        "fewer blocks (finetune.blocks, with finetune.recipe: fixed), or set compute.device to cpu",
                        key=OUT_OF_MEMORY,
                    ) from None
            self.count *= 2
            say(f"out of memory: batches are computed in {self.count} parts from now on")
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def of(self, batch: Rows) -> list[Rows]:
        """Splits a batch, (N, ...) per tensor, into nonempty micro-batches of nearly equal size.

        Every process of a fit gets the same number of micro-batches.
        """
        parts = min(self.count, all_reduce_min(_length(batch), _device(batch))) if self.count > 1 else 1
        columns = [[None] * parts if rows is None else rows.tensor_split(parts) for rows in batch]
        make: Any = getattr(batch, "_make", tuple)  # preserves named tuples
        return [make(rows) for rows in zip(*columns, strict=True)]


def _length(batch: tuple[Tensor | None, ...]) -> int:
    return next(len(rows) for rows in batch if rows is not None)


def _device(batch: tuple[Tensor | None, ...]) -> torch.device:
    return next(rows.device for rows in batch if rows is not None)
