"""Refuses, before hours of computation, a run whose stages certainly need more memory than there is."""

from __future__ import annotations

import sys
from collections.abc import Collection

import psutil

from flows.estimates.estimate import held
from flows.estimates.present import Present
from tasks.core.disk import size
from tasks.core.errors import RootstockError
from tasks.hardware.available_memory import total_bytes

REMEDIES = {
    "finetune": "lower compute.memory, so that images are decoded in every epoch, or use a machine with more memory",
    "evaluate": "move images from the test split to another, leave out scratch.run, or use a machine with more memory",
}
REMEDY = "use fewer images, or a machine with more memory"


def refuse_too_large(now: Present, outdated: Collection[str]) -> None:
    """Raises RootstockError if a stage that may run certainly holds more in memory than there is, swap included.

    What other programs hold does not count, as they may end before, nor what the code itself needs: a run that begins
    may still fail.
    """
    total = total_bytes() + swap_bytes()
    for stage in outdated:
        needed = held(stage, now.counts, now.params, now.setting)
        if needed > total:
            raise RootstockError(
                f"{stage} holds at least {size(needed)} in memory for {now.counts.images:,} images, and "
                f"there are {size(total)}: {REMEDIES.get(stage, REMEDY)}",
                key="memory-full",
            )


def swap_bytes() -> int:
    """Returns the size of the swap space, in bytes; it grows on macOS, so that the whole disk counts."""
    return sys.maxsize if sys.platform == "darwin" else int(psutil.swap_memory().total)
