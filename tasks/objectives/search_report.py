"""What a search for a recipe found, in a file that evaluation reads. Shapes: V validation images, C classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from tasks.core.files import read_json, write_json


@dataclass(frozen=True)
class RecipeFit:
    """A recipe's fit: its image passes, and its best point between the probe (alpha 0) and its end (alpha 1).

    Score, and gain in loss over the probe, are those of this point on validation. Recipes are compared by `worth`; the
    probe is kept if none is worth more than 0. If the loss was not finite, it is WORST, and the rest is 0.
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


@dataclass(frozen=True)
class SearchReport:
    """All fits in order, the place of the kept one, and the validation images that chose it.

    `halved`: they are one half of all, and the other half calibrates; otherwise, all of them do both, with the outputs
    of models that were chosen without them.
    """

    fits: tuple[RecipeFit, ...]
    kept: int
    images: int
    halved: bool

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Self:
        """Builds a report from its JSON form."""
        return cls(**{**fields, "fits": tuple(RecipeFit(**fit) for fit in fields["fits"])})

    @classmethod
    def load(cls, file: Path) -> Self | None:
        """Reads search.json; None if the recipe was fixed."""
        return cls.of(read_json(file)) if file.exists() else None

    def save(self, file: Path) -> None:
        """Writes search.json."""
        write_json(file, asdict(self))

    @property
    def alpha(self) -> float:
        """Returns how far from the probe the kept model lies."""
        fit = self.fits[self.kept]
        return fit.alpha if fit.worth > 0 else 0.0

    @property
    def passes(self) -> int:
        """Returns the image passes of all fits."""
        return sum(fit.passes for fit in self.fits)
