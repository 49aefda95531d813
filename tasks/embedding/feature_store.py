"""Stores features keyed by image content, so that only new images and views are embedded.

Each context (weights, preprocessing, device facts) has a folder of safetensors shards. Shards are only ever added,
under a temporary name and then renamed, so that readers and writers need no lock. When the store exceeds its budget,
the least recently used contexts are removed as a whole. Shapes: N rows, D features, P view parameters.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from tasks.core.files import replacing
from tasks.core.progress import say, warn

GIB = 2**30
KEYS, ROWS, CHECKSUM = "keys", "rows", "sha256"


def key_of(sha256: str, draw: Sequence[float]) -> bytes:
    """Returns the key of one row, 32 bytes, from the SHA-256 of the image's file and its view parameters (P,).

    The key depends on the file, not on its pixels: a large JPEG is decoded at reduced size but its lossless copy is
    not, so that equal pixels can have different features.
    """
    return hashlib.sha256(f"{sha256}:{json.dumps(list(draw))}".encode()).digest()


class FeatureStore:
    """The rows of one context, (D,) float32 each, by key."""

    def __init__(self, root: Path, context: Mapping[str, object]) -> None:
        digest = hashlib.sha256(json.dumps(context, sort_keys=True).encode()).hexdigest()
        self._folder = root / digest[:32]
        self._rows: dict[bytes, np.ndarray] = {}
        with suppress(FileNotFoundError):
            os.utime(self._folder)  # marks it as recently used
        for shard in sorted(self._folder.glob("*.safetensors")):
            self._rows.update(_read(shard))

    def __contains__(self, key: bytes) -> bool:
        return key in self._rows

    def __getitem__(self, keys: Sequence[bytes]) -> np.ndarray:
        """Returns the rows of these keys, (N, D) float32. Raises KeyError if a key is missing."""
        return np.stack([self._rows[key] for key in keys])

    def add(self, keys: Sequence[bytes], rows: np.ndarray) -> None:
        """Stores `rows`, (N, D) float32, in a new shard."""
        if not keys:
            return
        rows = np.ascontiguousarray(rows, dtype=np.float32)
        tensors = {KEYS: np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 32), ROWS: rows}
        with replacing(self._folder / f"{uuid.uuid4().hex}.safetensors") as beside:
            save_file(tensors, beside, {CHECKSUM: _checksum(tensors)})
        self._rows.update(zip(keys, rows, strict=True))

    def collect(self, most: float) -> None:
        """Removes the least recently used contexts, except this one, until the store fits into `most` GiB."""
        others = [folder for folder in self._folder.parent.iterdir() if folder.is_dir() and folder != self._folder]
        sizes = {folder: _size(folder) for folder in (*others, self._folder)}
        for folder in sorted(others, key=lambda other: other.stat().st_mtime):
            if sum(sizes.values()) <= most * GIB:
                return
            hidden = folder.rename(folder.with_name(f".{folder.name}.{uuid.uuid4().hex}"))  # atomic for all readers
            shutil.rmtree(hidden, ignore_errors=True)
            say(f"feature store: removed {sizes.pop(folder) / GIB:.2f} GiB that were least recently used")


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _read(shard: Path) -> dict[bytes, np.ndarray]:
    """Returns a shard's rows by key; sets the shard aside and returns no rows if its checksum does not match."""
    try:
        with safe_open(shard, "np") as file:
            tensors = {name: file.get_tensor(name) for name in (KEYS, ROWS)}
            intact = (file.metadata() or {}).get(CHECKSUM) == _checksum(tensors)
    except FileNotFoundError:  # has been removed in the meantime to free space
        return {}
    except (SafetensorError, OSError):
        intact = False
    if not intact:
        warn(f"feature store: {shard.name} does not match its digest; set aside, its rows are computed again")
        with suppress(FileNotFoundError):  # another process has set it aside
            shard.rename(shard.with_suffix(".damaged"))
        return {}
    return dict(zip((key.tobytes() for key in tensors[KEYS]), tensors[ROWS], strict=True))


def _checksum(tensors: Mapping[str, np.ndarray]) -> str:
    return hashlib.sha256(tensors[KEYS].tobytes() + tensors[ROWS].tobytes()).hexdigest()
