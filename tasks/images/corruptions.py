"""Image corruptions for robustness tests: shift, scale, flip, rotation, noise, blur and JPEG, at a given strength.

After Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions" (2019), applied to the
resized square. Shapes: N images, R side of the resized square, S side of the network input, P view parameters.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from tasks.images.transforms import CLEAN, VIEW_PARAMETERS, RenderStyle, view
from tasks.scorer.preprocessing import Preprocessing

STYLE = RenderStyle("edge")
Corruption = Callable[[Image.Image, float], Image.Image]


def corrupted(kind: str, strength: float, square_N3RR: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Corrupts uint8 squares (N, 3, R, R) and returns network inputs (N, 3, S, S); deterministic for given images.

    The unit of `strength` depends on `kind`: fraction of S (shift), factor (scale), degrees (rotation), standard
    deviation as a fraction of the full range (noise) or of the side (blur), quality (jpeg).
    """
    if kind in {"shift", "scale", "flip", "rotation"}:
        x_N3SS = view(square_N3RR, _geometric_draws(kind, strength, len(square_N3RR)), preprocessing.crop, STYLE)
        return preprocessing.normalize(x_N3SS)
    if kind == "noise":
        random = torch.Generator().manual_seed(int(square_N3RR.long().sum()))  # different images get different noise
        noise = torch.randn(square_N3RR.shape, generator=random) * strength
        square_N3RR = ((square_N3RR / 255 + noise).clamp(0, 1) * 255).round().to(torch.uint8)
        return preprocessing.network_input(square_N3RR)
    corrupted_squares = [_to_tensor(CORRUPTIONS[kind](_to_image(square), strength)) for square in square_N3RR]
    return preprocessing.network_input(torch.stack(corrupted_squares))


def _geometric_draws(kind: str, strength: float, count: int) -> Tensor:
    """Returns view parameters (N, P): shifts cycle through four directions, rotations alternate in sign."""
    draw_NP = torch.tensor([CLEAN]).repeat(count, 1)
    if kind == "shift":
        signs = torch.tensor([(1, 1), (1, -1), (-1, 1), (-1, -1)])[torch.arange(count) % 4]
        draw_NP[:, :2] = strength * signs
    elif kind == "rotation":
        draw_NP[:, VIEW_PARAMETERS.index(kind)] = strength * (1 - 2 * (torch.arange(count) % 2))
    else:
        draw_NP[:, VIEW_PARAMETERS.index(kind)] = strength
    return draw_NP


def _blur(image: Image.Image, strength: float) -> Image.Image:
    """Applies Gaussian blur; `strength` is its standard deviation as a fraction of the side."""
    return image.filter(ImageFilter.GaussianBlur(strength * image.width))


def _jpeg(image: Image.Image, strength: float) -> Image.Image:
    """Compresses to JPEG and back; `strength` is the quality, 1 to 95."""
    data = io.BytesIO()
    image.save(data, "JPEG", quality=round(strength))
    return Image.open(data).convert("RGB")


CORRUPTIONS: dict[str, Corruption] = {"blur": _blur, "jpeg": _jpeg}


def _to_image(square: Tensor) -> Image.Image:
    return Image.fromarray(square.permute(1, 2, 0).numpy())


def _to_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)
