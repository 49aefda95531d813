"""Plans the augmented views: each is a pure function of the image, the view's number and the seeded policy."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import pandas as pd

from tasks.core.schema import Column
from tasks.core.sections import AugmentPolicy
from tasks.images.transforms import CLEAN, VIEW_PARAMETERS

ERASED_SIDES = (0.1, 0.4)  # range of the erased square's side, as a fraction of S
SEEDS = 2**24  # integers that float32 represents exactly


def plan_views(images: Iterable[tuple[str, str]], policy: AugmentPolicy, salt: str = "") -> pd.DataFrame:
    """Returns a row for each view of each (path, pixel hash): PATH, PIXEL_HASH, VIEW and VIEW_PARAMETERS.

    Views with different salts are drawn independently.
    """
    rows = [
        (path, pixels, view, *sample_parameters(pixels, view, policy, salt))
        for path, pixels in images
        for view in range(1, policy.views + 1)
    ]
    return pd.DataFrame(rows, columns=[Column.PATH, Column.PIXEL_HASH, Column.VIEW, *VIEW_PARAMETERS])


def sample_parameters(pixel_hash: str, view: int, policy: AugmentPolicy, salt: str = "") -> tuple[float, ...]:
    """Returns the parameters of one view, in the order of VIEW_PARAMETERS; view 0 is the clean image.

    The random numbers come from a hash, so they are the same on every machine and in every version.
    """
    if view == 0:
        return CLEAN
    u, more = (_uniform(f"{salt}{stream}:{policy.seed}:{view}:{pixel_hash}") for stream in ("view", "more"))
    flip = float(policy.flip and u[3] < 0.5)
    color = [1 + policy.colour * (2 * x - 1) for x in u[4:7]]
    least, most = ERASED_SIDES
    erased = (more[1], more[2], least + (most - least) * more[3]) if more[4] < policy.erase else (0, 0, 0)
    automatic = 0 if policy.automatic == "none" else 1 + int(more[5] * (SEEDS - 1))
    shift = [policy.shift * (2 * x - 1) for x in u[:2]]
    numbers = (*shift, 1 + policy.scale * (2 * u[2] - 1), flip, *color)
    numbers += (policy.rotation * (2 * more[0] - 1), *erased, automatic)
    return tuple(round(float(number), 6) for number in numbers)


def _uniform(text: str) -> np.ndarray:
    """Returns eight numbers in [0, 1), (8,), from the SHA-256 of `text`."""
    return np.frombuffer(hashlib.sha256(text.encode()).digest(), ">u4").astype(float) / 2**32
