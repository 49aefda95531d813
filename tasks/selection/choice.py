"""The choice of a backbone: which candidate, at which size, and how all options scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from tasks.core.files import read_json, write_json
from tasks.selection.candidates import BackboneCandidate

DOUBLED = 2  # times as many images as at the choice, from which a new choice is advised


@dataclass(frozen=True)
class Row:
    """A line of the table: an option, its score and standard error on that many images, and its cost in GFLOPs."""

    option: str
    score: float
    standard_error: float
    images: int
    gflops: float


@dataclass(frozen=True)
class Choice:
    """The chosen candidate's architecture, SHA-256 and license, its input size in pixels, and the table of options.

    `images` is the number of labeled images at the time. The table is empty if there was nothing to choose from.
    """

    architecture: str
    sha256: str
    license: str
    resize: int
    crop: int
    images: int
    table: tuple[Row, ...] = ()

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Self:
        """Builds a choice from its JSON form."""
        return cls(**{**fields, "table": tuple(Row(**row) for row in fields["table"])})

    @classmethod
    def load(cls, file: Path) -> Self:
        """Reads choice.json."""
        return cls.of(read_json(file))

    def save(self, file: Path) -> None:
        """Writes choice.json."""
        write_json(file, asdict(self))

    def among(self, candidates: Sequence[BackboneCandidate]) -> BackboneCandidate | None:
        """Returns the candidate that was chosen, or None if it is no longer among them."""
        return next((each for each in candidates if each.sha256 == self.sha256), None)

    def describe(self, images: int) -> str:
        """Describes the choice in a line, given the present number of labeled images."""
        text = f"{self.architecture} at {self.crop} px"
        if self.table:
            text += f", the quickest near the best of {len(self.table)} on {self.images} images"
        if self.table and images >= DOUBLED * self.images:
            text += f"; there are {images} images now: make choose compares them again"
        return text
