"""From an upright RGB picture to the network's input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .decode import decode


@dataclass(frozen=True)
class Preprocessing:
    """From an upright RGB picture to the network's input: shorter side to R, centre S, (x / 255 - mean) / std.

    With `letterbox` the longer side is R instead, and the rest of the square is black: nothing is cut off.
    """

    resize: int
    crop: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    letterbox: bool = False

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Preprocessing:
        """From its JSON form, where the tuples are lists."""
        return cls(**{**fields, "mean": tuple(fields["mean"]), "std": tuple(fields["std"])})

    def square(self, image: Image.Image) -> Tensor:
        """The centre square after resizing, (3, R, R) uint8: what training keeps and draws its views from."""
        reference = max(image.size) if self.letterbox else min(image.size)
        width, height = (max(int(self.resize * side / reference), 1) for side in image.size)
        resized = image.resize((width, height), Image.Resampling[self.interpolation.upper()])
        left, top = (width - self.resize) // 2, (height - self.resize) // 2
        square = resized.crop((left, top, left + self.resize, top + self.resize))
        return torch.from_numpy(np.array(square)).permute(2, 0, 1)

    def read(self, data: bytes) -> Tensor:
        """The square of an encoded picture. A large JPEG is decoded at a half, quarter or eighth where enough is left.

        Enough is twice the shorter side that is wanted, so that the resizing after it still filters. Raises
        ValueError for what is no whole picture.
        """
        return self.square(decode(data, None if self.letterbox else 2 * self.resize))

    def center(self, square_N3RR: Tensor) -> Tensor:
        """The part of the squares that the network sees, (N, 3, S, S), as floats in [0, 1], channels last."""
        start = (self.resize - self.crop) // 2
        part = square_N3RR[..., start : start + self.crop, start : start + self.crop]
        return part.to(torch.float32, memory_format=torch.channels_last).div_(255)

    def normalize(self, x_N3SS: Tensor) -> Tensor:
        """Floats in [0, 1] to the range that the backbone was trained on, channels last."""
        return self.normalize_(x_N3SS.clone(memory_format=torch.channels_last))

    def normalize_(self, x_N3SS: Tensor) -> Tensor:
        """The same in place, of floats that are channels last: a row of pixels at a time, as that is quick."""
        width = x_N3SS.shape[-1]
        mean, std = (torch.tensor(v, device=x_N3SS.device).repeat(width) for v in (self.mean, self.std))
        x_N3SS.permute(0, 2, 3, 1).view(-1, x_N3SS.shape[-2], 3 * width).sub_(mean).div_(std)
        return x_N3SS

    def network_input(self, square_N3RR: Tensor) -> Tensor:
        """What the network is given for squares, (N, 3, S, S), channels last."""
        return self.normalize_(self.center(square_N3RR))

    def __call__(self, images: Sequence[Image.Image]) -> Tensor:
        """Pictures to the network's input, (N, 3, S, S)."""
        return self.network_input(stacked([self.square(image) for image in images]))


def stacked(squares: Sequence[Tensor]) -> Tensor:
    """One batch of squares, (N, 3, R, R), channels last in memory as they were decoded."""
    return torch.stack([square_3RR.permute(1, 2, 0) for square_3RR in squares]).permute(0, 3, 1, 2)
