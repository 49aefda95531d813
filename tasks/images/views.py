"""Draws augmented views where they are used: each is a pure function of the image, the view's number and the policy.

Shapes: N or B images, P view parameters.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from tasks.images.transforms import CLEAN

if TYPE_CHECKING:
    from tasks.core.sections import AugmentPolicy

ERASED_SIDES = (0.1, 0.4)  # range of the erased square's side, as a fraction of S
SEEDS = 2**24  # integers that float32 represents exactly
DECIMALS = 6
STREAMS = ("view", "more")  # of random numbers; a further one leaves the others as they are
CLEAN_VIEW = 0  # the number of the image without augmentation

Draw = Callable[[Tensor], Tensor]  # maps row numbers (B,) to the parameters of their views, (B, P) float64


def draw_clean(row_B: Tensor) -> Tensor:
    """Returns the parameters (B, P) of clean images."""
    return torch.tensor(CLEAN, dtype=torch.float64).expand(len(row_B), -1)


@dataclass(frozen=True)
class Views:
    """The views of images by their pixel hashes (N,). Views with different salts are drawn independently."""

    pixels: Sequence[str]
    policy: AugmentPolicy
    salt: str = ""

    @property
    def count(self) -> int:
        """Returns the number of views of each image."""
        return self.policy.views

    def number(self, epoch: int) -> int:
        """Returns the view, from 1, that every image has in an epoch, from 0."""
        return 1 + epoch % self.count

    def draw(self, row_B: Tensor, view: int | Tensor) -> Tensor:
        """Returns the parameters (B, P) float64 of these rows' view, which may differ between rows, (B,)."""
        view_B = torch.as_tensor(view).expand(len(row_B)).tolist()
        pixels = [self.pixels[row] for row in row_B.tolist()]
        return torch.from_numpy(sample_views(pixels, view_B, self.policy, self.salt))


def sample_views(pixels: Sequence[str], view_N: Sequence[int], policy: AugmentPolicy, salt: str = "") -> np.ndarray:
    """Returns the parameters (N, P), as in VIEW_PARAMETERS, of one view of each pixel hash.

    The random numbers come from a hash, so they are the same on every machine and in every version.
    """
    u, more = (_uniform(_texts(pixels, view_N, f"{salt}{stream}:{policy.seed}")) for stream in STREAMS)
    least, most = ERASED_SIDES
    is_erased_N = more[4] < policy.erase
    automatic_N = np.zeros_like(u[0]) if policy.automatic == "none" else 1 + np.floor(more[5] * (SEEDS - 1))
    columns = [
        *(policy.shift * (2 * x - 1) for x in u[:2]),
        1 + policy.scale * (2 * u[2] - 1),
        policy.flip & (u[3] < 0.5),
        *(1 + policy.colour * (2 * x - 1) for x in u[4:7]),
        policy.rotation * (2 * more[0] - 1),
        *(np.where(is_erased_N, x, 0) for x in (more[1], more[2], least + (most - least) * more[3])),
        automatic_N,
    ]
    draw_NP = _rounded(np.column_stack(columns))
    draw_NP[np.equal(view_N, CLEAN_VIEW)] = CLEAN
    return draw_NP


def _texts(pixels: Sequence[str], view_N: Sequence[int], prefix: str) -> Iterable[str]:
    return (f"{prefix}:{view}:{each}" for each, view in zip(pixels, view_N, strict=True))


def _uniform(texts: Iterable[str]) -> np.ndarray:
    """Returns eight numbers in [0, 1) for each text, from its SHA-256, (8, N)."""
    digests = b"".join(hashlib.sha256(text.encode()).digest() for text in texts)
    return np.frombuffer(digests, ">u4").reshape(-1, 8).T / 2**32


def _rounded(numbers: np.ndarray) -> np.ndarray:
    """Rounds to DECIMALS as Python does, to the nearest decimal: NumPy rounds a product, which is rounded itself."""
    rounded = numbers.round(DECIMALS)
    is_close = np.abs(numbers * 10**DECIMALS % 1 - 0.5) < 1e-3
    rounded[is_close] = [round(number, DECIMALS) for number in numbers[is_close].tolist()]
    return np.asarray(rounded)
