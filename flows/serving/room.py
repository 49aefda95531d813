"""Refuses a change of the version for which memory has no room: it could end the one that answers."""

from __future__ import annotations

from pathlib import Path

from flows.serving.fetching import UnusableError
from tasks.core.disk import size
from tasks.hardware.available_memory import available_bytes

IMPORTS = 450 * 2**20  # bytes of a worker with a small version, without what it shares with others (measured: 429)
COPIES = 3  # of the weights while they are loaded: as read, in the network, and with BatchNorm folded


def has_room_for_imports(workers: int) -> bool:
    """Returns whether there is room for so many processes with PyTorch."""
    return workers * IMPORTS <= available_bytes()


def check_imports(workers: int) -> None:
    """Raises UnusableError if there is no room for so many more workers."""
    _check(workers * IMPORTS)


def check_weights(workers: int, folder: Path) -> None:
    """Raises UnusableError if there is no room for the weights in a version's folder."""
    _check(workers * COPIES * (folder / "model.safetensors").stat().st_size)


def _check(needed: int) -> None:
    free = available_bytes()
    if needed > free:
        raise UnusableError(
            f"memory has no room for another version: it needs {size(needed)}, and {size(free)} are free; end other "
            "programs, lower serve.workers, or restart the server, which then answers nothing for some seconds",
            temporary=True,
        )
