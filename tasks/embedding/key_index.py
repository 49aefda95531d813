"""Finds keys of 128 bits in memory, 24 bytes each, sorted: a dict would take 200. Shapes: N keys."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

ROW_BITS = 40  # of a place; the others are the shard


def keys_of(sha256s: Sequence[str], draw_NP: np.ndarray) -> np.ndarray:
    """Returns the keys of views, (N, 2) uint64, from the SHA-256 of each image's file and its view parameters (N, P).

    A key depends on the file, not on its pixels: a large JPEG is decoded at reduced size but its lossless copy is not,
    so that equal pixels can have different features.
    """
    texts = (f"{sha256}:".encode() + draw.tobytes() for sha256, draw in zip(sha256s, draw_NP, strict=True))
    digests = b"".join(hashlib.sha256(text).digest()[:16] for text in texts)
    return np.frombuffer(digests, "<u8").reshape(-1, 2)


class KeyIndex:
    """Maps keys, (2,) uint64, to the number of a shard and a row in it. It is sorted on the first lookup."""

    def __init__(self) -> None:
        self._key_N2, self._place_N = np.empty((0, 2), np.uint64), np.empty(0, np.int64)
        self._new: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, key_N2: np.ndarray, shard: int) -> None:
        """Adds a shard's keys, in the order of its rows."""
        self._new.append((key_N2, (shard << ROW_BITS) + np.arange(len(key_N2))))

    def drop(self, shard: int) -> None:
        """Forgets a shard's keys."""
        self._sort()
        kept_N = self._place_N >> ROW_BITS != shard
        self._key_N2, self._place_N = self._key_N2[kept_N], self._place_N[kept_N]

    def find(self, key_N2: np.ndarray) -> np.ndarray:
        """Returns the place of each key, (N,), which `split` takes apart; -1 for a missing one."""
        self._sort()
        result_N = np.full(len(key_N2), -1)
        at_N = np.searchsorted(self._key_N2[:, 0], key_N2[:, 0])
        open_N = np.arange(len(key_N2))
        while len(open_N := open_N[at_N[open_N] < len(self._place_N)]):  # several keys may share their first half
            found_NB = self._key_N2[at_N[open_N]] == key_N2[open_N]
            whole_N = found_NB.all(1)
            result_N[open_N[whole_N]] = self._place_N[at_N[open_N[whole_N]]]
            open_N = open_N[found_NB[:, 0] & ~whole_N]
            at_N[open_N] += 1
        return result_N

    @staticmethod
    def split(place_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the shard and the row of each place, (N,)."""
        return place_N >> ROW_BITS, place_N & ((1 << ROW_BITS) - 1)

    @staticmethod
    def shards(place_N: np.ndarray) -> list[int]:
        """Returns the shards of these places; missing keys have none."""
        return [int(shard) for shard in np.unique(place_N[place_N >= 0] >> ROW_BITS)]

    def _sort(self) -> None:
        if self._new:
            keys, places = zip(*self._new, strict=True)
            key_N2, place_N = np.concatenate([self._key_N2, *keys]), np.concatenate([self._place_N, *places])
            order = np.argsort(key_N2[:, 0], kind="stable")
            self._key_N2, self._place_N, self._new = key_N2[order], place_N[order], []
