"""Converts upright RGB images to network inputs. Shapes: N images, R side of the resized square, S side of the crop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .decode import DEFAULT, Decoding, decoded

STRIP = 16  # times as long as wide: of longer images, only the center is resized, since all would take much memory


@dataclass(frozen=True)
class Preprocessing:
    """Resizes the shorter side to R pixels, crops the center S and normalizes to (x / 255 - mean) / std.

    With `letterbox` the longer side becomes R, and the rest of the square is black, so that nothing is cropped.
    """

    resize: int
    crop: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    letterbox: bool = False
    decoding: Decoding = DEFAULT

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Preprocessing:
        """Builds the preprocessing from its JSON form, in which tuples are lists; older forms have no decoding."""
        tuples = {name: tuple(fields[name]) for name in ("mean", "std")}
        return cls(**{**fields, **tuples, "decoding": Decoding.of(fields.get("decoding"))})

    def square(self, image: Image.Image) -> Tensor:
        """Returns the center square after resizing, (3, R, R) uint8, from which training renders its views."""
        reference = max(image.size) if self.letterbox else min(image.size)
        width, height = (max(int(self.resize * side / reference), 1) for side in image.size)
        left, top = (_margin(length, self.crop) - _margin(self.resize, self.crop) for length in (width, height))
        method = Image.Resampling[self.interpolation.upper()]
        if max(width, height) > STRIP * self.resize and not self.letterbox:
            return _tensor(_part_of_strip(image, self.resize, (width, height), (left, top), method))
        resized = image.resize((width, height), method)
        return _tensor(resized.crop((left, top, left + self.resize, top + self.resize)))

    def read(self, data: bytes) -> Tensor:
        """Returns the square of an encoded image, (3, R, R) uint8. Raises ValueError if it is broken or truncated.

        A large JPEG is decoded at a half, a quarter or an eighth of its size, as long as the shorter side keeps at
        least 2 R pixels, so that the resize still filters.
        """
        with decoded(data, None if self.letterbox else 2 * self.resize, self.decoding) as image:
            return self.square(image.rgb)

    def center(self, square_N3RR: Tensor) -> Tensor:
        """Crops squares (N, 3, R, R) to their centers (N, 3, S, S), floats in [0, 1], channels last."""
        start = _margin(self.resize, self.crop)
        part = square_N3RR[..., start : start + self.crop, start : start + self.crop]
        return part.to(torch.float32, memory_format=torch.channels_last).div_(255)

    def normalize(self, x_N3SS: Tensor) -> Tensor:
        """Normalizes images (N, 3, S, S) in [0, 1] by `mean` and `std`; returns a copy, channels last."""
        return self.normalize_(x_N3SS.clone(memory_format=torch.channels_last))

    def normalize_(self, x_N3SS: Tensor) -> Tensor:
        """Normalizes channels-last images (N, 3, S, S) in place, one row of pixels at a time, which is fast."""
        width = x_N3SS.shape[-1]
        mean, std = (torch.tensor(v, device=x_N3SS.device).repeat(width) for v in (self.mean, self.std))
        x_N3SS.permute(0, 2, 3, 1).view(-1, x_N3SS.shape[-2], 3 * width).sub_(mean).div_(std)
        return x_N3SS

    def network_input(self, square_N3RR: Tensor) -> Tensor:
        """Converts squares (N, 3, R, R) to network inputs (N, 3, S, S), channels last."""
        return self.normalize_(self.center(square_N3RR))

    def __call__(self, images: Sequence[Image.Image]) -> Tensor:
        """Converts images to network inputs, (N, 3, S, S)."""
        return self.network_input(stacked([self.square(image) for image in images]))


def _margin(length: int, part: int) -> int:
    """Returns where the center `part` of `length` pixels starts, rounded as by torchvision's CenterCrop."""
    return round((length - part) / 2)


def _part_of_strip(
    image: Image.Image, side: int, size: tuple[int, int], start: tuple[int, int], method: Image.Resampling
) -> Image.Image:
    """Returns the square from `start` of the image resized to `size`, up to rounding, without resizing the rest.

    Pillow resizes horizontally first, except for tall images that become smaller; the order matters, since it rounds
    and clips in between.
    """
    scales = [length / resized for length, resized in zip(image.size, size, strict=True)]
    starts = [first * scale for first, scale in zip(start, scales, strict=True)]
    margins = [int(4 * max(scale, 1)) for scale in scales]  # pixels that the filter may reach beyond the square
    corner = [max(int(first) - margin, 0) for first, margin in zip(starts, margins, strict=True)]
    ends = [int(first + side * scale) + margin for first, scale, margin in zip(starts, scales, margins, strict=True)]
    vertically_first = image.height > image.width and scales[1] > 1
    image = image.crop((corner[0], corner[1], min(ends[0], image.width), min(ends[1], image.height)))
    x0, y0 = (first - edge for first, edge in zip(starts, corner, strict=True))
    x1, y1 = min(x0 + side * scales[0], image.width), min(y0 + side * scales[1], image.height)
    if vertically_first:
        image = image.resize((image.width, side), method, (0, y0, image.width, y1))
        return image.resize((side, side), method, (x0, 0, x1, side))
    image = image.resize((side, image.height), method, (x0, 0, x1, image.height))
    return image.resize((side, side), method, (0, y0, side, y1))


def _tensor(image: Image.Image) -> Tensor:
    """Converts an RGB image to a tensor, (3, H, W) uint8."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def stacked(squares: Sequence[Tensor]) -> Tensor:
    """Stacks squares (3, R, R) into a batch (N, 3, R, R), channels last in memory."""
    return torch.stack([square_3RR.permute(1, 2, 0) for square_3RR in squares]).permute(0, 3, 1, 2)
