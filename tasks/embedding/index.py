"""Lists the rows of the feature matrix, the embedded images and their views, in blocks that fit into memory.

Shapes: N views, P view parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.core.errors import ParamsError
from tasks.core.schema import HAS, LABELED_SPLITS, TARGET, Column, Split
from tasks.core.sections import AugmentPolicy
from tasks.data.manifest import in_blocks, label_names, target_names, usable
from tasks.embedding.extraction import ViewBatch, view_batches
from tasks.embedding.key_index import keys_of
from tasks.hardware.heap import trimmed
from tasks.images.views import sample_views

BLOCK_BYTES, BLOCK_IMAGES = 2**25, 2**13  # limits on a block's features and on its images


@dataclass(frozen=True)
class ViewBlock:
    """Views in manifest order: a row each of the index, their parameters (N, P), and keys (N, 2) of the store."""

    index: pd.DataFrame
    draw_NP: np.ndarray
    key_N2: np.ndarray


def check_views(views: int, policy: AugmentPolicy) -> None:
    """Raises ParamsError if the policy has fewer than `views` views."""
    if views > policy.views:
        raise ParamsError(
            f"features.views is {views}, but augment.views is {policy.views}: raise it", key="features.views"
        )


def images_per_block(width: int, views: int) -> int:
    """Returns the number of images whose features, (1 + views) rows of `width` float32 each, make a block."""
    return max(1, min(BLOCK_IMAGES, BLOCK_BYTES // (4 * width * (1 + views))))


def view_blocks(manifest: Path, images: int, policy: AugmentPolicy, views: int) -> Iterator[ViewBlock]:
    """Yields the views of `images` rows of the manifest at a time; blocks without views are left out."""
    for block in trimmed(in_blocks(manifest, images)):
        rows = rows_to_embed(block, views)
        if len(rows):
            draw_NP = sample_views(list(rows[Column.PIXEL_HASH]), list(rows[Column.VIEW]), policy)
            key_N2 = keys_of(list(rows[Column.SHA256]), draw_NP)
            yield ViewBlock(rows.drop(columns=Column.SHA256), draw_NP, key_N2)


def rows_to_embed(manifest: pd.DataFrame, views: int) -> pd.DataFrame:
    """Returns a row for each usable labeled image and for the first `views` views of training images.

    Rows are in manifest order, then by view.
    """
    rows = usable(manifest)
    rows = rows.loc[
        rows[Column.SPLIT].isin(LABELED_SPLITS),
        [
            *(Column.PATH, Column.SHA256, Column.PIXEL_HASH, Column.LABEL, Column.SPLIT, Column.WEIGHT),
            *(f"{TARGET}{name}" for name in target_names(rows)),
            *(f"{HAS}{name}" for name in label_names(rows)),
        ],
    ]
    count_N = np.where(rows[Column.SPLIT] == Split.TRAIN, 1 + views, 1)
    view_R = np.concatenate([np.arange(0), *map(np.arange, count_N)])
    return rows.loc[rows.index.repeat(count_N)].assign(**{Column.VIEW: view_R}).reset_index(drop=True)


def missing_views(blocks: Iterable[ViewBlock], missing: Sequence[np.ndarray], batch: int) -> Iterator[ViewBatch]:
    """Yields the views of the blocks that are missing, (N,) bool of each block."""
    parts = zip(blocks, missing, strict=True)
    views = chain.from_iterable(
        zip(block.index[Column.PATH][missing_N], block.draw_NP[missing_N], block.key_N2[missing_N], strict=True)
        for block, missing_N in parts
    )
    return view_batches(views, batch)
