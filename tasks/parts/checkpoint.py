"""Checkpoints in .state/: a safetensors file each, named by a digest of all that the fit depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor

from tasks.parts import weights
from tasks.parts.files import sha256_of

CODE = Path(__file__).parents[1]


class FileCheckpoint:
    """One file, replaced in one step by each save."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """What was saved last, or None."""
        return weights.read(self._path) if self._path.exists() else None

    def save(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Replaces the file."""
        weights.write(self._path, tensors, values)


def digest_of(files: Iterable[Path], values: object) -> str:
    """A digest of these files, these values and all code of the stages: a checkpoint of anything else is not ours."""
    code = sorted(CODE.rglob("*.py"))
    digests = [sha256_of(path) for path in (*files, *code)]
    return hashlib.sha256(json.dumps([digests, values], sort_keys=True, default=str).encode()).hexdigest()[:32]
