"""Options: each candidate at its own input size, and at smaller ones that still resolve the images. Sizes in pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.selection.candidates import BackboneCandidate

SMALLER = (96, 128, 160, 192)  # sides, beside a network's own, for networks that accept any
UPSAMPLING = 3  # a smaller side is at least this many times the images' median shorter side
FIXED = ("vit_", "maxvit", "swin")  # networks that are built for one side
FEW = 40  # images, below which only each candidate's own size is considered


@dataclass(frozen=True)
class Option:
    """A candidate at an input size: the shorter side is resized to `resize`, and the center `crop` is shown."""

    candidate: BackboneCandidate
    resize: int
    crop: int

    @property
    def name(self) -> str:
        """Returns a readable name."""
        return f"{self.candidate.architecture} at {self.crop} px"


def options_of(
    candidate: BackboneCandidate, sizes: tuple[int, int], median_side: float, images: int
) -> Sequence[Option]:
    """Returns the options of a candidate, given its own (resize, crop), its own size first."""
    resize, crop = sizes
    sides = [side for side in SMALLER if UPSAMPLING * median_side <= side < crop]
    if images < FEW or candidate.architecture.startswith(FIXED):
        sides = []
    smaller = [Option(candidate, round(resize * side / crop), side) for side in reversed(sides)]
    return [Option(candidate, resize, crop), *smaller]
