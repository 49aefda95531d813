"""What a search for a recipe compared and kept, in a file that evaluation reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from tasks.core.files import read_json, write_json

PROBE_KEPT = "probe"  # in place of a recipe


class CalibratedBy(StrEnum):
    """What calibrates the kept model: validation images, or its outputs, that have not chosen it."""

    OTHER_HALF = "other half"  # of the validation images
    OUT_OF_FOLD = "out of fold"  # each output is of a model chosen without the image
    NOTHING = "nothing"  # in regression


@dataclass(frozen=True)
class RecipeFit:
    """A recipe's fit: its image passes, and its best point between the probe (alpha 0) and its end (alpha 1).

    Score, and gain in loss over the probe, are those of this point on validation. Recipes are compared by `worth`; the
    probe is kept if none is worth more than 0. `failed` says why there is no such point, or is empty.
    """

    rung: int
    recipe: str
    lr: float
    epochs: int
    passes: int
    worth: float
    alpha: float = 0.0
    score: float = 0.0
    gain: float = 0.0
    standard_error: float = 0.0
    failed: str = ""


@dataclass(frozen=True)
class SearchReport:
    """All fits in order, the place of the best one, and the number of validation images that compared them."""

    fits: tuple[RecipeFit, ...]
    best: int
    images: int
    calibrated_by: CalibratedBy

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Self:
        """Builds a report from its JSON form."""
        fits = tuple(RecipeFit(**fit) for fit in fields["fits"])
        return cls(fits, fields["best"], fields["images"], CalibratedBy(fields["calibrated_by"]))

    @classmethod
    def load(cls, file: Path) -> Self | None:
        """Reads search.json; None if the recipe was fixed."""
        return cls.of(read_json(file)) if file.exists() else None

    def save(self, file: Path) -> None:
        """Writes search.json."""
        write_json(file, asdict(self))

    @property
    def recipe(self) -> str:
        """Returns the name of the kept recipe, or PROBE_KEPT."""
        return self.fits[self.best].recipe if self.alpha else PROBE_KEPT

    @property
    def alpha(self) -> float:
        """Returns how far from the probe the kept model lies."""
        fit = self.fits[self.best]
        return fit.alpha if fit.worth > 0 else 0.0

    @property
    def passes(self) -> int:
        """Returns the image passes of all fits."""
        return sum(fit.passes for fit in self.fits)
