"""Saves checkpoints in .state/ as safetensors files, named by a digest of everything that a fit depends on."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor

from tasks.core.digest import code_digest
from tasks.core.errors import RootstockError
from tasks.core.files import put_aside, sha256_of
from tasks.core.progress import warn
from tasks.hardware.distributed import rank
from tasks.models import weights_file


class FileCheckpoint:
    """A checkpoint file, replaced atomically by each save, at most once every `every` seconds.

    In a fit on several processes, rank 0 writes the file and all processes read it. A file damaged by a power failure
    is set aside, and the fit starts over.
    """

    def __init__(self, path: Path, every: float = 0.0) -> None:
        self._path = path
        self._every = every
        self._saved = -math.inf

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Returns the last saved tensors and values, or None if there are none."""
        if not self._path.exists():
            return None
        try:
            return weights_file.read(self._path)
        except RootstockError as error:
            if not rank():
                warn(f"{error}; the checkpoint is set aside and the fit starts over")
                put_aside(self._path, self._path.with_suffix(".damaged"))
            return None

    def save(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Replaces the file, unless the last save was less than `every` seconds ago."""
        if rank() or time.monotonic() - self._saved < self._every:
            return
        self._saved = time.monotonic()
        weights_file.write(self._path, tensors, values)


def digest_of(module: str, files: Iterable[Path], values: object) -> str:
    """Returns a digest of everything that a fit depends on, 32 hexadecimal digits.

    It covers the code (the module's import closure), the files and the values.
    """
    digests = [code_digest(module), *map(sha256_of, files)]
    return hashlib.sha256(json.dumps([digests, values], sort_keys=True, default=str).encode()).hexdigest()[:32]
