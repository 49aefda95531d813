"""Views of pictures: shift, scale, flip and colour in one interpolation, for a whole batch, on any device.

Shapes: N pictures, R the side of the kept square, S the side of what the network sees, 7 numbers of a draw.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.parts.scorer import Preprocessing

# Shifts are fractions of S, to the right and down; scale above 1 enlarges; flip is 0 or 1; the rest are factors.
DRAW = ("shift_x", "shift_y", "scale", "flip", "brightness", "contrast", "saturation")
CLEAN = (0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0)
FILLS = {"black": "zeros", "edge": "border", "mirror": "reflection"}
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def inputs(square_N3RR: Tensor, draw_N7: Tensor, preprocessing: Preprocessing, fill: str) -> Tensor:
    """The network's inputs, (N, 3, S, S): views where a draw asks for one, else exactly what serving makes."""
    clean_N = (draw_N7 == torch.tensor(CLEAN, device=draw_N7.device)).all(1)
    x_N3SS = preprocessing.centre(square_N3RR)
    if not clean_N.all():
        x_N3SS[~clean_N] = view(square_N3RR[~clean_N], draw_N7[~clean_N], preprocessing.crop, fill)
    return preprocessing.normalise(x_N3SS)


def view(square_N3RR: Tensor, draw_N7: Tensor, crop: int, fill: str) -> Tensor:
    """The views as floats in [0, 1], (N, 3, S, S). `fill` says what lies outside the square: black, edge or mirror."""
    x_N3RR = square_N3RR.float() / 255
    grid = F.affine_grid(_theta(draw_N7, crop / x_N3RR.shape[-1]), [len(x_N3RR), 3, crop, crop], align_corners=False)
    x_N3SS = F.grid_sample(x_N3RR, grid, padding_mode=FILLS[fill], align_corners=False)
    return _coloured(x_N3SS, draw_N7).clamp(0, 1)


def _theta(draw_N7: Tensor, part: float) -> Tensor:
    """The affine maps from output to square coordinates, (N, 2, 3); `part` = S / R."""
    shift_x, shift_y, scale, flip = draw_N7[:, :4].unbind(1)
    zoom = part / scale
    mirrored = zoom * (1 - 2 * flip)
    zero = torch.zeros_like(zoom)
    rows = [mirrored, zero, -2 * shift_x * mirrored, zero, zoom, -2 * shift_y * zoom]
    return torch.stack(rows, 1).view(-1, 2, 3)


def _coloured(x_N3SS: Tensor, draw_N7: Tensor) -> Tensor:
    brightness, contrast, saturation = (factor.view(-1, 1, 1, 1) for factor in draw_N7[:, 4:].unbind(1))
    x_N3SS = x_N3SS * brightness
    mean = x_N3SS.mean((1, 2, 3), keepdim=True)
    x_N3SS = mean + (x_N3SS - mean) * contrast
    grey = (x_N3SS * torch.tensor(LUMA, device=x_N3SS.device).view(1, 3, 1, 1)).sum(1, keepdim=True)
    return grey + (x_N3SS - grey) * saturation
