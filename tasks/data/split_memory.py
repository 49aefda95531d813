"""The splits of earlier versions, by pixel hash: data/splits.csv, and its original beside the registry.

An image of a version keeps its split for ever. Lines are only added, never changed.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.core.files import replacing
from tasks.core.schema import LABELED_SPLITS, Column

if TYPE_CHECKING:
    import pandas as pd

HEADER = [Column.PIXEL_HASH.value, Column.SPLIT.value]


def read_memory(file: Path) -> dict[str, str]:
    """Returns the split of each pixel hash; an empty dict if there is no such file yet."""
    if not file.exists():
        return {}
    with file.open(encoding="utf-8", newline="") as lines:
        rows = csv.DictReader(lines)
        return {row[Column.PIXEL_HASH]: row[Column.SPLIT] for row in rows}


def write_memory(file: Path, memory: Mapping[str, str]) -> None:
    """Replaces the file, atomically. Equal memories give equal bytes."""
    with replacing(file) as beside, beside.open("w", encoding="utf-8", newline="") as lines:
        csv.writer(lines, lineterminator="\n").writerows([HEADER, *sorted(memory.items())])


def splits_of(manifest: pd.DataFrame) -> dict[str, str]:
    """Returns the split of each pixel hash among the labeled images that a version is trained or scored on."""
    rows = manifest[manifest[Column.SPLIT].isin(LABELED_SPLITS) & manifest[Column.QUARANTINE].isna()]
    return dict(zip(rows[Column.PIXEL_HASH], rows[Column.SPLIT], strict=True))
