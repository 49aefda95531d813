"""The splits of earlier versions, by pixel hash: data/splits.csv, and its original beside the registry.

An image of a version keeps its split for ever. Lines are only added, never changed.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.core.errors import DamagedFileError
from tasks.core.files import replacing
from tasks.core.schema import LABELED_SPLITS, Column

if TYPE_CHECKING:
    import pandas as pd

HEADER = [Column.PIXEL_HASH.value, Column.SPLIT.value]


def read_memory(file: Path) -> dict[str, str]:
    """Returns the split of each pixel hash; an empty dict if there is no such file yet.

    Raises DamagedFileError if a line is none of a memory.
    """
    if not file.exists():
        return {}
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            return dict(_line(row) for row in csv.DictReader(lines))
    except (ValueError, LookupError, csv.Error) as error:
        raise DamagedFileError(
            f"{file} is damaged ({error}); restore it from a backup. Without it, images may change their split",
            key="splits-damaged",
        ) from None


def _line(row: Mapping[str, str]) -> tuple[str, str]:
    pixels, split = row[Column.PIXEL_HASH], row[Column.SPLIT]
    if split not in LABELED_SPLITS:
        raise ValueError(f"{split!r} is no split")
    return pixels, split


def write_memory(file: Path, memory: Mapping[str, str]) -> None:
    """Replaces the file, atomically. Equal memories give equal bytes."""
    with replacing(file) as beside, beside.open("w", encoding="utf-8", newline="") as lines:
        csv.writer(lines, lineterminator="\n").writerows([HEADER, *sorted(memory.items())])


def splits_of(manifest: pd.DataFrame) -> dict[str, str]:
    """Returns the split of each pixel hash among the labeled images that a version is trained or scored on."""
    rows = manifest[manifest[Column.SPLIT].isin(LABELED_SPLITS) & manifest[Column.QUARANTINE].isna()]
    return dict(zip(rows[Column.PIXEL_HASH], rows[Column.SPLIT], strict=True))
