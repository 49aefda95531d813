"""Searches the nearest rows by cosine similarity: exactly, or approximately in an index.

The index is a hierarchical navigable small world (Malkov and Yashunin, "Efficient and Robust Approximate Nearest
Neighbor Search", 2018) of the optional package voyager, which `make neighbors` installs. For any number of threads, the
results have the same bits. Shapes: N rows, B of them in a block, D features, K neighbors, M = K + 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.core.errors import RootstockError
from tasks.core.objective_sections import NeighborSearch
from tasks.core.progress import counted, say
from tasks.hardware.heap import trimmed
from tasks.hardware.threads import map_in_threads
from tasks.heads.rows import blocks_of

if TYPE_CHECKING:
    import numpy as np
    from voyager import Index

SCORES = 2**23  # cosine similarities that a thread holds at a time, unless a single row has more
MANY = 50_000  # rows from which an index takes less processor time, although one core builds it
LINKS = 16  # of a row in each layer of the index
BREADTH_OF_BUILD = 64  # candidates for a new row's links
BREADTH_OF_SEARCH = 64  # candidates for a row's neighbors, or twice their number if that is more


class Nearest(NamedTuple):
    """The other rows most similar to each row, (N, K) int64, and their cosine similarities, (N, K) float32."""

    row_NK: Tensor
    cosine_NK: Tensor


def exactly(x_ND: Tensor, count: int) -> Nearest:
    """Compares all rows, (N, D) float32, block by block. Of rows that are equally near, it takes the same each time."""
    if len(x_ND) > MANY:
        say(
            f"unlabelled.search: each of {len(x_ND)} images is compared with all others, so that time grows with the "
            "square of their number; that of index, which one core builds, grows more slowly"
        )
    z_ND = F.normalize(x_ND, dim=1)
    blocks = blocks_of(len(x_ND), max(1, SCORES // len(x_ND)))
    parts = trimmed(map_in_threads(lambda block: _of_block(z_ND, block, count), blocks))
    return _joined(counted(parts, len(blocks), "blocks of images compared with all"))


def _of_block(z_ND: Tensor, block: slice, count: int) -> Nearest:
    """Returns the nearest of all rows, which have the length one, to those of a block."""
    cosine_BN = z_ND[block] @ z_ND.T
    cosine_BN.diagonal(block.start).fill_(-torch.inf)  # no row is a neighbor of itself, even if another one equals it
    nearest = cosine_BN.topk(count, dim=1)
    return Nearest(nearest.indices, nearest.values)


def by_index(x_ND: Tensor, count: int) -> Nearest:
    """Searches an index of the rows, (N, D) float32. Raises RootstockError if it does not lead to enough of them."""
    index, blocks = _index_of(x_ND), blocks_of(len(x_ND))
    parts = (_from_index(index, x_ND, block, count) for block in blocks)
    return _joined(counted(parts, len(blocks), "blocks of images looked up"))


def _index_of(x_ND: Tensor) -> Index:
    """Builds the index by one thread, since the order in which rows are added decides their links."""
    from voyager import Index, Space

    rows, width = x_ND.shape
    settings = {"M": LINKS, "ef_construction": BREADTH_OF_BUILD, "random_seed": 0, "max_elements": rows}
    index = Index(Space.Cosine, num_dimensions=width, **settings)
    blocks, row_N = blocks_of(rows), torch.arange(rows)
    for block in counted(blocks, len(blocks), "blocks of images added to the index"):
        index.add_items(_packed(x_ND[block]), row_N[block].numpy(), num_threads=1)
    return index


def _from_index(index: Index, x_ND: Tensor, block: slice, count: int) -> Nearest:
    """Looks up the rows of a block, each of which is usually the first of its M results."""
    from voyager import RecallError

    breadth, threads = max(BREADTH_OF_SEARCH, 2 * count), torch.get_num_threads()
    try:
        row_BM, distance_BM = index.query(_packed(x_ND[block]), count + 1, num_threads=threads, query_ef=breadth)
    except RecallError as error:
        message = f"unlabelled.search: the index does not lead to {count} neighbors of each image; set it to exact"
        raise RootstockError(message, key="unlabelled.search") from error
    nearest = Nearest(torch.from_numpy(row_BM.astype("int64")), 1 - torch.from_numpy(distance_BM))
    return _without_themselves(nearest, torch.arange(block.start, block.stop))


def _packed(x_BD: Tensor) -> np.ndarray:
    """Returns rows, (B, D), one right after the other: voyager misreads columns of a wider matrix without an error."""
    return x_BD.contiguous().numpy()


def _without_themselves(nearest: Nearest, row_B: Tensor) -> Nearest:
    """Leaves out each row from its results, (B, M), or the last one where equal rows are in its place."""
    itself_BM = nearest.row_NK == row_B.unsqueeze(1)
    itself_BM[:, -1] |= ~itself_BM.any(1)
    return Nearest(*(values_BM[~itself_BM].reshape(len(row_B), -1) for values_BM in nearest))


def _joined(parts: Iterable[Nearest]) -> Nearest:
    return Nearest(*map(torch.cat, zip(*parts, strict=True)))


SEARCHES: Mapping[NeighborSearch, Callable[[Tensor, int], Nearest]] = {"exact": exactly, "index": by_index}
