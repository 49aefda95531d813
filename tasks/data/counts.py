"""Counts the images of a manifest without reading it into memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tasks.core.schema import LABELED_SPLITS, Column


@dataclass(frozen=True)
class Counts:
    """The number of all images, and those of the usable ones in each labeled split."""

    images: int
    train: int
    validation: int
    test: int

    @property
    def labeled(self) -> int:
        """Returns the number of images that are embedded."""
        return self.train + self.validation + self.test

    def scaled_to(self, images: int) -> Counts:
        """Returns the counts of `images` images with the same shares, rounded up."""
        each = (-(-count * images // max(self.images, 1)) for count in (self.train, self.validation, self.test))
        return Counts(images, *each)


def count_images(manifest: Path) -> Counts:
    """Returns the counts of the manifest in `manifest`, from two of its columns."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    rows = pq.read_table(manifest, columns=[Column.SPLIT, Column.QUARANTINE])
    usable = rows[Column.SPLIT].filter(pc.is_null(rows[Column.QUARANTINE]))
    counts = {entry["values"]: entry["counts"] for entry in pc.value_counts(usable).to_pylist()}
    return Counts(len(rows), *(int(counts.get(str(split), 0)) for split in LABELED_SPLITS))
