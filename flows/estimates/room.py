"""Refuses, before hours of computation, a run whose stages certainly need more memory than there is."""

from __future__ import annotations

from collections.abc import Collection

import psutil

from flows.estimates.estimate import held
from flows.estimates.present import Present
from tasks.core.disk import size
from tasks.core.errors import RootstockError
from tasks.hardware.available_memory import available_bytes

REMEDIES = {
    "finetune": "lower compute.memory, so that images are decoded in every epoch, or use a machine with more memory",
    "evaluate": "move images from the test split to another, leave out scratch.run, or use a machine with more memory",
}
REMEDY = "use fewer images, or a machine with more memory"


def refuse_too_large(now: Present, outdated: Collection[str]) -> None:
    """Raises RootstockError if a stage that will run certainly holds more in memory than is available, swap included.

    Only what is held at the same time counts, and not what the code itself needs: a run that begins may still fail.
    """
    available = available_bytes() + swapped_bytes()
    for stage in outdated:
        needed = held(stage, now.counts, now.params, now.setting)
        if needed > available:
            raise RootstockError(
                f"{stage} holds at least {size(needed)} in memory for {now.counts.images:,} images, and "
                f"{size(available)} are available: {REMEDIES.get(stage, REMEDY)}",
                key="memory-full",
            )


def swapped_bytes() -> int:
    """Returns how much more could be moved to swap, in bytes."""
    return int(psutil.swap_memory().free)
