"""The seeded plan of views: each is a pure function of image, view index and policy (with its seed)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import pandas as pd

from tasks.core.schema import Column
from tasks.core.sections import AugmentPolicy
from tasks.images.transforms import CLEAN, VIEW_PARAMETERS

ERASED = (0.1, 0.4)  # sides of erased squares
SEEDS = 2**24  # that float32 can tell apart


def plan_views(images: Iterable[tuple[str, str]], policy: AugmentPolicy, salt: str = "") -> pd.DataFrame:
    """Returns a row for each view of each (path, pixel hash): PATH, PIXEL_HASH, VIEW and VIEW_PARAMETERS.

    Views of another `salt` are drawn independently of these.
    """
    rows = [
        (path, pixels, view, *sample_parameters(pixels, view, policy, salt))
        for path, pixels in images
        for view in range(1, policy.views + 1)
    ]
    return pd.DataFrame(rows, columns=[Column.PATH, Column.PIXEL_HASH, Column.VIEW, *VIEW_PARAMETERS])


def sample_parameters(pixel_hash: str, view: int, policy: AugmentPolicy, salt: str = "") -> tuple[float, ...]:
    """Returns the parameters of one view, in the order of VIEW_PARAMETERS; view 0 is the clean image.

    The uniform numbers are the bytes of a hash, so they are the same on every machine and in every version.
    """
    if view == 0:
        return CLEAN
    u, more = (_uniform(f"{salt}{what}:{policy.seed}:{view}:{pixel_hash}") for what in ("view", "more"))
    flip = float(policy.flip and u[3] < 0.5)
    color = [1 + policy.colour * (2 * x - 1) for x in u[4:7]]
    erased = (more[1], more[2], ERASED[0] + (ERASED[1] - ERASED[0]) * more[3]) if more[4] < policy.erase else (0, 0, 0)
    automatic = 0 if policy.automatic == "none" else 1 + int(more[5] * (SEEDS - 1))
    shift = [policy.shift * (2 * x - 1) for x in u[:2]]
    numbers = (*shift, 1 + policy.scale * (2 * u[2] - 1), flip, *color)
    numbers += (policy.rotation * (2 * more[0] - 1), *erased, automatic)
    return tuple(round(float(number), 6) for number in numbers)


def _uniform(what: str) -> np.ndarray:
    """Returns eight numbers in [0, 1)."""
    return np.frombuffer(hashlib.sha256(what.encode()).digest(), ">u4").astype(float) / 2**32
