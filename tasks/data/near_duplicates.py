"""Near-duplicates: images that show the same picture, such as a JPEG copy of a PNG file, or one at another size.

A perceptual hash proposes pairs; their pixels, at 32 x 32, decide. On images of hardly any contrast neither says
anything, and only equal pixels count. Shapes: N images, U distinct hashes, P pairs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from tasks.core.cores import count_cores
from tasks.core.ordered import in_order
from tasks.core.progress import counted
from tasks.core.schema import Column
from tasks.scorer.decode import DEFAULT, Decoding, decode

MAX_DISTANCE = 4  # bits of 64 in which the hashes of near-duplicates differ
BANDS = tuple((start, min(13, 64 - start)) for start in range(0, 64, 13))  # one more than MAX_DISTANCE: one is equal
MAX_ALIKE = 500  # images with one hash, above which it says nothing, as for blank pages
SIDE = 32  # pixels
MIN_CORRELATION = 0.99
MAX_DIFFERENCE = 8.0  # root mean square, in levels of 255
MIN_CONTRAST = 2.0  # standard deviation over the pixels, in levels of 255
CHUNK = 512  # pairs that a thread compares at once


class ImageFiles(NamedTuple):
    """The folder of the images, and how they are decoded."""

    folder: Path
    decoding: Decoding = DEFAULT

    def thumbnail(self, name: str) -> np.ndarray:
        """Returns an image in RGB at 32 x 32, (32, 32, 3) uint8."""
        image = decode((self.folder / name).read_bytes(), decoding=self.decoding)
        return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX))


class NearDuplicates(NamedTuple):
    """Pairs of positions, (P, 2), in order, and the number of images whose hash said nothing."""

    pairs_P2: np.ndarray
    unsearched: int


def find_near_duplicates(files: ImageFiles, rows: pd.DataFrame, split: pd.Series | None = None) -> NearDuplicates:
    """Finds near-duplicates among readable rows of the manifest, without exact copies.

    With `split`, only pairs in two different splits are searched. Positions are those in `rows`.
    """
    first = rows[Column.PERCEPTUAL_HASH].notna() & ~rows.duplicated(
        [Column.PIXEL_HASH] if split is None else [Column.PIXEL_HASH, Column.SPLIT]
    )
    place_N = np.flatnonzero(first)
    hash_N = np.array([int(text, 16) for text in rows[Column.PERCEPTUAL_HASH].iloc[place_N]], np.uint64)
    hash_N, place_N, unsearched = _without_frequent(hash_N, place_N)
    pairs_P2 = place_N[candidates(hash_N)]
    if split is not None:
        code_N = pd.factorize(split)[0]
        pairs_P2 = pairs_P2[code_N[pairs_P2[:, 0]] != code_N[pairs_P2[:, 1]]]
    pixels = rows[Column.PIXEL_HASH].to_numpy(object)
    pairs_P2 = pairs_P2[pixels[pairs_P2[:, 0]] != pixels[pairs_P2[:, 1]]]
    names = rows[Column.PATH].to_numpy(object)
    return NearDuplicates(pairs_P2[_alike(files, names, pairs_P2)], unsearched)


def candidates(hash_N: np.ndarray) -> np.ndarray:
    """Returns the pairs of positions, (P, 2), whose hashes, (N,) uint64, differ in at most MAX_DISTANCE bits.

    Such hashes are equal in at least one of the bands of bits, in which they are sorted.
    """
    bands = [(hash_N >> np.uint64(start)) & np.uint64(2**width - 1) for start, width in BANDS]
    pairs = [pair_P2 for band in range(len(bands)) for pair_P2 in _in_band(hash_N, bands[: band + 1])]
    found = np.sort(np.concatenate([np.empty((0, 2), np.int64), *pairs]), axis=1)
    return found[np.lexsort((found[:, 1], found[:, 0]))]


def _in_band(hash_N: np.ndarray, bands: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """Yields the pairs with close hashes that are equal in the last band, and in none before it."""
    *earlier, key_N = bands
    order_N = np.argsort(key_N, kind="stable")
    key_N, hash_N = key_N[order_N], hash_N[order_N]
    first_N = np.arange(len(key_N))
    for offset in range(1, len(key_N)):
        first_N = first_N[first_N + offset < len(key_N)]
        first_N = first_N[key_N[first_N] == key_N[first_N + offset]]
        if not len(first_N):
            return
        near_P = first_N[np.bitwise_count(hash_N[first_N] ^ hash_N[first_N + offset]) <= MAX_DISTANCE]
        a_P, b_P = order_N[near_P], order_N[near_P + offset]
        is_new_P = np.ones(len(a_P), bool)
        for band_N in earlier:
            is_new_P &= band_N[a_P] != band_N[b_P]
        yield np.stack([a_P[is_new_P], b_P[is_new_P]], axis=1)


def _without_frequent(hash_N: np.ndarray, place_N: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Leaves out the images that share a hash with more than MAX_ALIKE others. Returns their number as well."""
    _, inverse_N, count_U = np.unique(hash_N, return_inverse=True, return_counts=True)
    kept_N = count_U[inverse_N] <= MAX_ALIKE
    return hash_N[kept_N], place_N[kept_N], int((~kept_N).sum())


def _alike(files: ImageFiles, names: np.ndarray, pairs_P2: np.ndarray) -> np.ndarray:
    """Returns whether the thumbnails of each pair are almost equal, (P,) bool."""
    places, threads = np.unique(pairs_P2), count_cores()
    pixels = np.empty((len(places), SIDE, SIDE, 3), np.uint8)
    with ThreadPoolExecutor(threads) as pool:
        in_threads = partial(in_order, pool.submit, ahead=lambda: 2 * threads)
        small = in_threads(files.thumbnail, map(str, names[places]))
        for row, thumbnail in enumerate(counted(small, len(places), "thumbnails of similar images made")):
            pixels[row] = thumbnail
        thumbnails, chunks = Thumbnails.of(pixels), _chunks(np.searchsorted(places, pairs_P2))
        parts = in_threads(lambda chunk_P2: alike(thumbnails.at(chunk_P2[:, 0]), thumbnails.at(chunk_P2[:, 1])), chunks)
        return np.concatenate([np.zeros(0, bool), *counted(parts, len(chunks), "blocks of similar pairs compared")])


def _chunks(index_P2: np.ndarray) -> list[np.ndarray]:
    return [index_P2[start : start + CHUNK] for start in range(0, len(index_P2), CHUNK)]


class Thumbnails(NamedTuple):
    """Thumbnails with their D levels each, (N, D) uint8, and the exact sums of levels and of their squares, (N,)."""

    level_ND: np.ndarray
    sum_N: np.ndarray
    sum_of_squares_N: np.ndarray

    @classmethod
    def of(cls, pixels_NHWC: np.ndarray) -> Thumbnails:
        """Adds up the levels, (N, H, W, 3) uint8."""
        level_ND = pixels_NHWC.reshape(len(pixels_NHWC), math.prod(pixels_NHWC.shape[1:]))
        return cls(level_ND, level_ND.sum(1, dtype=np.int64), _dot_products(level_ND, level_ND))

    def at(self, place_P: np.ndarray) -> Thumbnails:
        """Returns those at these places."""
        return Thumbnails(*(values[place_P] for values in self))


def alike(a: Thumbnails, b: Thumbnails) -> np.ndarray:
    """Returns whether pairs of thumbnails are near-duplicates, (P,) bool.

    They are if they correlate and hardly differ, so that neither a change of color nor a flat image is mistaken.
    Variances and covariances are those of the levels, times the square of D.
    """
    size, product_P = a.level_ND.shape[1], _dot_products(a.level_ND, b.level_ND)
    mse_P = (a.sum_of_squares_N + b.sum_of_squares_N - 2 * product_P) / size
    variance_a_P, variance_b_P = (size * side.sum_of_squares_N - side.sum_N**2 for side in (a, b))
    covariance_P = size * product_P - a.sum_N * b.sum_N
    correlates_P = covariance_P > MIN_CORRELATION * np.sqrt(variance_a_P) * np.sqrt(variance_b_P)
    has_contrast_P = np.minimum(variance_a_P, variance_b_P) > (MIN_CONTRAST * size) ** 2
    return np.asarray(correlates_P & (mse_P < MAX_DIFFERENCE**2) & has_contrast_P)


def _dot_products(a_PD: np.ndarray, b_PD: np.ndarray) -> np.ndarray:
    """Returns the dot products of rows of uint8, (P,) int64: up to 3 x 32 x 32 x 255^2, which int32 holds."""
    product_P: np.ndarray = np.einsum("pd,pd->p", a_PD, b_PD, dtype=np.int32, casting="unsafe").astype(np.int64)
    return product_P


def sheet(files: ImageFiles, pairs: Sequence[tuple[str, str]]) -> Image.Image:
    """Draws the pairs of files below each other, each as two enlarged thumbnails."""
    side = 3 * SIDE
    drawn = Image.new("RGB", (2 * side, side * len(pairs)))
    for row, pair in enumerate(pairs):
        for column, name in enumerate(pair):
            small = Image.fromarray(files.thumbnail(name)).resize((side, side), Image.Resampling.NEAREST)
            drawn.paste(small, (column * side, row * side))
    return drawn
