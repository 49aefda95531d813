"""The seeded plan of views: each is a pure function of picture, view index, seed and policy."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from tasks.core.schema import Column
from tasks.images.transforms import CLEAN, DRAW

ERASED = (0.1, 0.4)  # sides of erased squares
SEEDS = 2**24  # that float32 can tell apart


def plan(
    pictures: Iterable[tuple[str, str]],
    views: int,
    seed: int,
    policy: Mapping[str, float | bool | str],
    salt: str = "",
) -> pd.DataFrame:
    """A row for each view 1..`views` of each (path, pixel hash): PATH, PIXEL_HASH, VIEW and the columns of DRAW.

    Views of another `salt` are drawn independently of these.
    """
    rows = [
        (path, pixels, view, *draw(pixels, view, seed, policy, salt))
        for path, pixels in pictures
        for view in range(1, views + 1)
    ]
    return pd.DataFrame(rows, columns=[Column.PATH, Column.PIXEL_HASH, Column.VIEW, *DRAW])


def draw(
    pixel_hash: str, view: int, seed: int, policy: Mapping[str, float | bool | str], salt: str = ""
) -> tuple[float, ...]:
    """The numbers of one view, in the order of DRAW; view 0 is the clean picture.

    The uniform numbers are the bytes of a hash, so they are the same on every machine and in every version.
    """
    if view == 0:
        return CLEAN
    u, more = (_uniform(f"{salt}{what}:{seed}:{view}:{pixel_hash}") for what in ("view", "more"))
    shift, scale, colour = (float(policy[name]) for name in ("shift", "scale", "colour"))
    flip = float(bool(policy["flip"]) and u[3] < 0.5)
    spread = [1 + colour * (2 * x - 1) for x in u[4:7]]
    rotation, chance = (float(policy[name]) for name in ("rotation", "erase"))
    erased = (more[1], more[2], ERASED[0] + (ERASED[1] - ERASED[0]) * more[3]) if more[4] < chance else (0, 0, 0)
    automatic = 0 if policy["automatic"] == "none" else 1 + int(more[5] * (SEEDS - 1))
    numbers = (shift * (2 * u[0] - 1), shift * (2 * u[1] - 1), 1 + scale * (2 * u[2] - 1), flip, *spread)
    numbers += (rotation * (2 * more[0] - 1), *erased, automatic)
    return tuple(round(float(number), 6) for number in numbers)


def _uniform(what: str) -> np.ndarray:
    """Eight numbers from 0 to 1."""
    return np.frombuffer(hashlib.sha256(what.encode()).digest(), ">u4").astype(float) / 2**32
