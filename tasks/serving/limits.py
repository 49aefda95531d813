"""What a request may ask for."""

from __future__ import annotations

from typing import NamedTuple

MIB = 2**20


class Limits(NamedTuple):
    """The largest body in MiB, the most pixels of a picture, the most pictures of a request, and its seconds."""

    max_mib: int
    max_pixels: int
    max_images: int
    seconds: float

    @property
    def max_bytes(self) -> int:
        """Returns the size of the largest body."""
        return self.max_mib * MIB
