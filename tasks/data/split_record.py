"""The record of how ingest assigned splits, which validation reads: splits.json."""

from __future__ import annotations

from pydantic import Field

from tasks.core.params import Section


class SplitRecord(Section):
    """Who decided on the splits, and which near-duplicates are in two of them."""

    ours: bool = Field(description="whether a hash decided, since the source has no splits")
    near_duplicates: tuple[tuple[str, str], ...] = Field(description="pairs of files in two labeled splits")
    unsearched: int = Field(description="images whose perceptual hash says nothing, such as blank pages")

    @property
    def notes(self) -> tuple[str, ...]:
        """Returns what a user should know beside validation's findings."""
        if not self.unsearched:
            return ()
        return (f"{self.unsearched} images with hardly any detail were not searched for near-duplicates",)
