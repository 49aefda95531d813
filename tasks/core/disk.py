"""Refuses to begin what the disk has no room for."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tasks.core.errors import RootstockError

GIB = 2**30
FICLONE = 0x40049409  # Linux: a file shares the blocks of another


def free_bytes(place: Path) -> int:
    """Returns the free bytes of the disk that `place` is on, or will be on."""
    return shutil.disk_usage(_existing(place)).free


def refuse_if_full(needed: Mapping[Path, int], what: str, remedy: str) -> None:
    """Raises RootstockError if a disk has no room for what will certainly be written: bytes by place.

    Places on one disk are added up.
    """
    by_disk: dict[int, list[Path]] = {}
    for place in needed:
        by_disk.setdefault(_existing(place).stat().st_dev, []).append(place)
    for places in by_disk.values():
        total, free = sum(needed[place] for place in places), free_bytes(places[0])
        if total > free:
            where = " and ".join(str(place.absolute()) for place in places)
            message = f"{what} needs {size(total)} in {where}, where {size(free)} are free; {remedy}"
            raise RootstockError(message, key="disk-full")


def _existing(place: Path) -> Path:
    return next(each for each in (place, *place.absolute().parents) if each.exists())


def shares_blocks(folder: Path) -> bool:
    """Returns whether files in `folder` may share blocks, as on Btrfs and XFS; true where only a copy would tell."""
    if sys.platform != "linux":
        return True
    import fcntl

    with tempfile.TemporaryFile(dir=folder) as one, tempfile.TemporaryFile(dir=folder) as other:
        try:
            fcntl.ioctl(other.fileno(), FICLONE, one.fileno())
        except OSError:
            return False
    return True


def size(number: float) -> str:
    """Returns a number of bytes in words, such as 2.1 GiB."""
    return f"{number / GIB:,.1f} GiB" if number >= GIB else f"{number / 2**20:,.1f} MiB"
