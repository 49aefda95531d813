"""Stores features keyed by image content, so that only new images and views are embedded.

Each context (weights, preprocessing, device facts) has a folder of safetensors shards. Shards are only ever added,
under a temporary name and then renamed, so that readers and writers need no lock. When the store exceeds its budget,
the least recently used contexts are removed as a whole. Keys are in memory, rows are mapped from the shards. Shapes: N
rows, D features.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tasks.core.errors import RootstockError
from tasks.core.files import replacing
from tasks.core.progress import say, warn
from tasks.embedding.key_index import KeyIndex

GIB = 2**30
RECENT = 3600  # seconds
KEYS, ROWS, CHECKSUM = "keys", "rows", "sha256"


class FeatureStore:
    """The rows of one context, (D,) float32 each, by key, (2,) uint64."""

    def __init__(self, root: Path, context: Mapping[str, object]) -> None:
        digest = hashlib.sha256(json.dumps(context, sort_keys=True).encode()).hexdigest()
        self._folder = root / digest[:32]
        self._index = KeyIndex()
        self._files: list[Path] = []
        self._rows: dict[int, Tensor] = {}  # of the shards that have been checked, by their place in _files
        with suppress(FileNotFoundError):
            os.utime(self._folder)  # marks it as recently used
        for file in sorted(self._folder.glob("*.safetensors")):
            self.append(file.name)

    def count_missing(self, key_N2: np.ndarray) -> int:
        """Returns how many of these keys are missing, (N, 2), if no shard is damaged."""
        return int((self._index.find(key_N2) < 0).sum())

    def missing(self, key_N2: np.ndarray) -> np.ndarray:
        """Returns which of these keys, (N, 2), are missing, (N,) bool. Damaged shards are set aside."""
        return self._find(key_N2) < 0

    def __getitem__(self, key_N2: np.ndarray) -> Tensor:
        """Returns the rows of these keys, (N, D). Raises RootstockError if one has been removed."""
        place_N = self._find(key_N2)
        if (place_N < 0).any():
            message = f"{self._folder}: features were damaged, or removed by another process; run the command again"
            raise RootstockError(message, key="features-removed")
        shard_N, row_N = KeyIndex.split(place_N)
        parts = {shard: self._rows[shard] for shard in np.unique(shard_N).tolist()}
        first = next(iter(parts.values()), torch.empty(0, 0))
        x_ND = torch.empty(len(key_N2), first.shape[1])
        for shard, rows in parts.items():
            inside_N = torch.from_numpy(shard_N == shard)
            x_ND[inside_N] = rows[torch.from_numpy(row_N)[inside_N]]
        return x_ND

    @property
    def folder(self) -> Path:
        """Returns the folder of this context's shards."""
        return self._folder

    def append(self, name: str) -> None:
        """Reads the keys of a shard, by the name of its file, such as one that another process has just written."""
        file = self._folder / name
        with _damage_set_aside(file), safe_open(file, "pt") as shard:
            key_N2 = shard.get_tensor(KEYS).numpy().view(np.uint64).copy()
            self._index.add(key_N2, len(self._files))
            self._files.append(file)

    def collect(self, most: float) -> None:
        """Removes the least recently used contexts until the store fits into `most` GiB.

        Those used within the last hour are kept: this one, and others into which processes may be writing.
        """
        folders = [
            folder for folder in self._folder.parent.iterdir() if folder.is_dir() and not folder.name.startswith(".")
        ]
        sizes = {folder: _size(folder) for folder in folders}
        used = {folder: _last_use(folder) for folder in folders if folder != self._folder}
        used = {folder: last for folder, last in used.items() if last < time.time() - RECENT}
        for folder in sorted(used, key=used.__getitem__):
            if sum(sizes.values()) <= most * GIB:
                return
            hidden = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
            with suppress(FileNotFoundError):  # another process has removed it
                folder.rename(hidden)  # atomic for all readers
            shutil.rmtree(hidden, ignore_errors=True)
            say(f"feature store: removed {sizes.pop(folder) / GIB:.2f} GiB that were least recently used")

    def _find(self, key_N2: np.ndarray) -> np.ndarray:
        """Returns the places of these keys in shards that have been checked, (N,); -1 for a missing one."""
        while True:
            place_N = self._index.find(key_N2)
            unchecked = set(KeyIndex.shards(place_N)) - self._rows.keys()
            if not unchecked:
                return place_N
            for shard in unchecked:
                self._check(shard)

    def _check(self, shard: int) -> None:
        """Maps a shard's rows; drops its keys if its checksum does not match, or another process has removed it."""
        file = self._files[shard]
        with _damage_set_aside(file):
            self._rows[shard] = _mapped(file)[ROWS]
        if shard not in self._rows:
            self._index.drop(shard)


def write_shard(folder: Path, key_N2: np.ndarray, rows: Tensor) -> str:
    """Stores `rows`, (N, D) float32, with their keys in a new shard of a context's folder, and returns its name.

    Any process may do so.
    """
    tensors = {KEYS: torch.tensor(key_N2.view(np.int64)), ROWS: rows.contiguous()}
    file = folder / f"{uuid.uuid4().hex}.safetensors"
    with replacing(file) as beside:
        save_file(tensors, beside, {CHECKSUM: _checksum(tensors)})
    return file.name


def _mapped(file: Path) -> dict[str, Tensor]:
    """Returns a shard's tensors, mapped from the file. Raises SafetensorError if they do not match its checksum."""
    with safe_open(file, "pt") as shard:
        tensors = {name: shard.get_tensor(name) for name in (KEYS, ROWS)}
        if (shard.metadata() or {}).get(CHECKSUM) != _checksum(tensors):
            raise SafetensorError("the checksum does not match")
    return tensors


@contextmanager
def _damage_set_aside(file: Path) -> Iterator[None]:
    """Sets the file aside if the block finds it damaged; one that another process has removed is ignored."""
    try:
        yield
    except FileNotFoundError:
        pass
    except SafetensorError:
        warn(f"feature store: {file.name} does not match its digest; set aside, its rows are computed again")
        with suppress(FileNotFoundError):  # another process has set it aside
            file.rename(file.with_suffix(".damaged"))


def _size(folder: Path) -> int:
    size = 0
    for file in folder.rglob("*"):
        with suppress(FileNotFoundError):
            size += file.stat().st_size
    return size


def _last_use(folder: Path) -> float:
    """Returns when a context was last used; 0 if another process has just removed it."""
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in (KEYS, ROWS):
        digest.update(tensors[name].numpy().ravel().data)
    return digest.hexdigest()
