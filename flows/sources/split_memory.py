"""The memory of splits: which split each image of a registered version has, kept beside the registry.

Ingest reads a copy, data/splits.csv. It is renewed only when ingest has to run anyway, or when the present manifest
contradicts the memory, so that a registration does not make its own results outdated.
"""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock

from flows.local.environment import REGISTRY
from tasks.core.files import read_json
from tasks.core.paths import Paths
from tasks.data.manifest import read_manifest
from tasks.data.split_memory import read_memory, splits_of, write_memory
from tasks.data.split_record import SplitRecord

MEMORY = REGISTRY / "splits.csv"


def renew(paths: Paths, memory: Path = MEMORY) -> bool:
    """Copies the memory for ingest. Returns whether the copy has changed."""
    before = paths.splits.read_bytes() if paths.splits.exists() else None
    write_memory(paths.splits, read_memory(memory))
    return paths.splits.read_bytes() != before


def is_contradicted(paths: Paths, memory: Path = MEMORY) -> bool:
    """Returns whether there is no copy yet, or an image of the manifest has another split in the memory."""
    if not paths.splits.exists():
        return True
    past = read_memory(memory)
    return any(past.get(pixels, split) != split for pixels, split in _present(paths).items())


def remember(paths: Paths, memory: Path = MEMORY) -> int:
    """Adds the images of the manifest to the memory. Returns how many are new. No line is ever changed."""
    memory.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(memory.with_suffix(".lock")):
        past = read_memory(memory)
        grown = {**_present(paths), **past}
        if len(grown) > len(past):
            write_memory(memory, grown)
    return len(grown) - len(past)


def _present(paths: Paths) -> dict[str, str]:
    """Returns the splits of the manifest by pixel hash; empty without a manifest, or if the source defines splits."""
    if not (paths.manifest.exists() and paths.split_record.exists()):
        return {}
    is_ours = SplitRecord.model_validate(read_json(paths.split_record)).ours
    return splits_of(read_manifest(paths.manifest)) if is_ours else {}
