"""What a camera does to pictures: shift, scale, flip, rotation, noise, blur and JPEG, at the strengths asked for.

After Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions" (2019), applied to the
resized square. Shapes: N pictures, R the side of the kept square, S the side of what the network sees.
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
Change = Callable[[Image.Image, float], Image.Image]


def corrupted(kind: str, strength: float, square_N3RR: Tensor, preprocessing: Preprocessing) -> Tensor:
    """The pictures under one corruption, as the network's input (N, 3, S, S); the same for the same pictures."""
    if kind in {"shift", "scale", "flip", "rotation"}:
        x_N3SS = view(square_N3RR, _geometric_draws(kind, strength, len(square_N3RR)), preprocessing.crop, STYLE)
        return preprocessing.normalize(x_N3SS)
    if kind == "noise":
        random = torch.Generator().manual_seed(int(square_N3RR.long().sum()))  # other pictures get other noise
        noise = torch.randn(square_N3RR.shape, generator=random) * strength
        square_N3RR = ((square_N3RR / 255 + noise).clamp(0, 1) * 255).round().to(torch.uint8)
        return preprocessing.network_input(square_N3RR)
    changed = [_picture(CHANGES[kind](_image(square), strength)) for square in square_N3RR]
    return preprocessing.network_input(torch.stack(changed))


def _geometric_draws(kind: str, strength: float, count: int) -> Tensor:
    """Draws, (N, P): shifts in four directions and rotations in two by turns; one zoom or flip for all."""
    draw_NP = torch.tensor([CLEAN]).repeat(count, 1)
    if kind == "shift":
        signs = torch.tensor([(1, 1), (1, -1), (-1, 1), (-1, -1)])[torch.arange(count) % 4]
        draw_NP[:, :2] = strength * signs
    elif kind == "rotation":
        draw_NP[:, VIEW_PARAMETERS.index(kind)] = strength * (1 - 2 * (torch.arange(count) % 2))
    else:
        draw_NP[:, VIEW_PARAMETERS.index(kind)] = strength
    return draw_NP


def _blurred(image: Image.Image, strength: float) -> Image.Image:
    """Gaussian blur; the strength is its standard deviation as a fraction of the side."""
    return image.filter(ImageFilter.GaussianBlur(strength * image.width))


def _jpeg(image: Image.Image, strength: float) -> Image.Image:
    """JPEG at this quality, 1 to 95."""
    data = io.BytesIO()
    image.save(data, "JPEG", quality=round(strength))
    return Image.open(data).convert("RGB")


CHANGES: dict[str, Change] = {"blur": _blurred, "jpeg": _jpeg}


def _image(square: Tensor) -> Image.Image:
    return Image.fromarray(square.permute(1, 2, 0).numpy())


def _picture(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)
