"""Renders augmented views: shift, scale, rotation, flip, color and erasing, batched, on any device.

Shapes: N images, R side of the resized square, S side of the network input, P view parameters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import v2

from tasks.scorer.preprocessing import Preprocessing

if TYPE_CHECKING:
    from tasks.core.sections import AugmentSection

# Shifts are fractions of S, to the right and down; scale above 1 enlarges; flip is 0 or 1; brightness, contrast and
# saturation are factors; rotation is in degrees, clockwise; center and side of the erased square are fractions of S;
# `automatic` seeds the automatic policy, and 0 disables it.
VIEW_PARAMETERS: tuple[str, ...] = ("shift_x", "shift_y", "scale", "flip", "brightness", "contrast", "saturation")
VIEW_PARAMETERS += ("rotation", "erase_x", "erase_y", "erase_side", "automatic")
CLEAN = (0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
FILLS = {"black": "zeros", "edge": "border", "mirror": "reflection"}
AUTOMATIC = {  # with torchvision's defaults
    "rand": v2.RandAugment,  # Cubuk et al., 2020
    "trivial": v2.TrivialAugmentWide,  # Müller and Hutter, 2021
    "augmix": v2.AugMix,  # Hendrycks et al., 2020
}
RANDOM_STATE = Lock()  # held while torch's global random state is changed
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


@dataclass(frozen=True)
class RenderStyle:
    """The rendering options of all views: the fill outside the square, and the automatic policy or `none`."""

    fill: str = "black"
    automatic: str = "none"

    @classmethod
    def of(cls, policy: AugmentSection) -> RenderStyle:
        """Returns the rendering options of `policy`."""
        return cls(policy.fill, policy.automatic)


def inputs(square_N3RR: Tensor, draw_NP: Tensor, preprocessing: Preprocessing, style: RenderStyle) -> Tensor:
    """Renders squares (N, 3, R, R) uint8 with parameters (N, P) to normalized network inputs (N, 3, S, S).

    Rows with clean parameters are bit-identical to serving inputs.
    """
    is_view_N = (draw_NP != torch.tensor(CLEAN, device=draw_NP.device)).any(1)
    x_N3SS = preprocessing.center(square_N3RR)
    if is_view_N.any():
        x_N3SS[is_view_N] = view(square_N3RR[is_view_N], draw_NP[is_view_N], preprocessing.crop, style)
    return preprocessing.normalize_(x_N3SS)


def view(square_N3RR: Tensor, draw_NP: Tensor, crop: int, style: RenderStyle) -> Tensor:
    """Renders squares (N, 3, R, R) uint8 with parameters (N, P) to views (N, 3, S, S), floats in [0, 1].

    `crop` is S in pixels.
    """
    x_N3RR = _automatic(square_N3RR, draw_NP[:, -1], style.automatic).float() / 255
    grid = F.affine_grid(
        _affine_matrices(draw_NP, crop / x_N3RR.shape[-1]), [len(x_N3RR), 3, crop, crop], align_corners=False
    )
    x_N3SS = F.grid_sample(x_N3RR, grid, padding_mode=FILLS[style.fill], align_corners=False)
    return _erase(_adjust_color(x_N3SS, draw_NP).clamp(0, 1), draw_NP)


def _affine_matrices(draw_NP: Tensor, crop_fraction: float) -> Tensor:
    """Returns the affine maps from output to square coordinates, (N, 2, 3); `crop_fraction` = S / R."""
    shift_x, shift_y, scale, flip = draw_NP[:, :4].unbind(1)
    angle = draw_NP[:, VIEW_PARAMETERS.index("rotation")] * (math.pi / 180)
    along, across = crop_fraction / scale * angle.cos(), crop_fraction / scale * angle.sin()
    mirror = 1 - 2 * flip
    rows = [(mirror * along, mirror * across), (-across, along)]
    return torch.stack([torch.stack([a, b, -2 * (a * shift_x + b * shift_y)], 1) for a, b in rows], 1)


def _adjust_color(x_N3SS: Tensor, draw_NP: Tensor) -> Tensor:
    brightness, contrast, saturation = (factor.view(-1, 1, 1, 1) for factor in draw_NP[:, 4:7].unbind(1))
    x_N3SS = x_N3SS * brightness
    mean = x_N3SS.mean((1, 2, 3), keepdim=True)
    x_N3SS = mean + (x_N3SS - mean) * contrast
    gray = (x_N3SS * torch.tensor(LUMA, device=x_N3SS.device).view(1, 3, 1, 1)).sum(1, keepdim=True)
    return gray + (x_N3SS - gray) * saturation


def _erase(x_N3SS: Tensor, draw_NP: Tensor) -> Tensor:
    """Fills a square of each image with the image's mean color (Zhong et al., "Random Erasing", 2020)."""
    x, y, side = (number.view(-1, 1, 1, 1) for number in draw_NP[:, 8:11].unbind(1))
    if not side.any():
        return x_N3SS
    position_S = (torch.arange(x_N3SS.shape[-1], device=x_N3SS.device) + 0.5) / x_N3SS.shape[-1]
    inside = ((position_S - x).abs() < side / 2) & ((position_S.view(-1, 1) - y).abs() < side / 2)
    return torch.where(inside, x_N3SS.mean((2, 3), keepdim=True), x_N3SS)


def _automatic(square_N3RR: Tensor, seed_N: Tensor, policy: str) -> Tensor:
    """Applies the policy to each image with its own seed (0: unchanged); torch's global random state is restored.

    The state is the process's, so that one thread at a time uses it.
    """
    if policy == "none":
        return square_N3RR
    transform, transformed = AUTOMATIC[policy](), []
    with RANDOM_STATE, torch.random.fork_rng(devices=[square_N3RR.device] if square_N3RR.is_cuda else []):
        for square, seed in zip(square_N3RR, seed_N.long().tolist(), strict=True):
            torch.manual_seed(seed)
            transformed.append(transform(square) if seed else square)
    return torch.stack(transformed)
