"""A batch that the device's memory cannot hold is computed in parts.

Gradients add up to those of the whole, but for BatchNorm that learns statistics, CORAL and MCC, which look at all rows
together: they take a part for the whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from tasks.core.errors import RootstockError
from tasks.core.progress import say
from tasks.hardware.distributed import count, least

Result = TypeVar("Result")
Batch = tuple[Tensor, ...]


class Parts:
    """How many parts a batch is computed in: as many as asked for, and twice as many each time memory ends."""

    def __init__(self, count: int = 1) -> None:
        self.count = count

    def tried(self, attempt: Callable[[list[Batch]], Result], batch: Batch) -> Result:
        """What `attempt` makes of the batch's parts. Raises RootstockError if not even one row fits.

        Also where several processes share a fit: one of them cannot try again while the others go on.
        """
        while True:
            try:
                return attempt(self.of(batch))
            except torch.OutOfMemoryError:
                if count() > 1:
                    raise RootstockError(
                        f"the device's memory cannot hold a batch in {self.count} parts: raise finetune.parts"
                    ) from None
                if self.count >= len(batch[0]):
                    raise RootstockError(
                        "the device's memory cannot hold one image's pass: take a smaller backbone or backbone.crop, "
                        "let fewer blocks learn (finetune.blocks), or set compute.device to cpu"
                    ) from None
            self.count *= 2
            say(f"out of memory: batches are computed in {self.count} parts from here on")
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def of(self, batch: Batch) -> list[Batch]:
        """The batch's rows in nearly equal parts, none of them empty; in as many for every process that shares it."""
        parts = min(self.count, least(len(batch[0]), batch[0].device)) if self.count > 1 else 1
        return list(zip(*(rows.tensor_split(parts) for rows in batch), strict=True))
