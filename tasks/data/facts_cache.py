"""A cache of image facts, keyed by file content, so that only new files have to be decoded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import imagehash
import PIL

from tasks.core.digest import code_digest
from tasks.core.files import read_json, write_json
from tasks.core.schema import Column
from tasks.data.image_files import Facts
from tasks.scorer.decode import DEFAULT, Decoding
from tasks.scorer.readers import heif_version

CODE, CHECKSUM, FACTS = "code", "sha256", "facts"
NOT_CACHED = (Column.PATH, Column.SHA256)  # the path belongs to the file, not to its content; SHA-256 is the key


def load(file: Path, decoding: Decoding = DEFAULT) -> dict[str, Facts]:
    """Returns the facts by SHA-256; an empty dict if the cache is missing, damaged, or of other code or settings."""
    try:
        kept = read_json(file)
        valid = kept[CODE] == _code(decoding) and kept[CHECKSUM] == _digest(kept[FACTS])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return dict(kept[FACTS]) if valid else {}


def save(file: Path, rows: Iterable[Facts], decoding: Decoding = DEFAULT) -> None:
    """Replaces the cache with the facts of `rows`. Unreadable files have no digest and are skipped."""
    facts = {
        row[Column.SHA256]: {str(name): value for name, value in row.items() if name not in NOT_CACHED}
        for row in rows
        if Column.SHA256 in row
    }
    write_json(file, {CODE: _code(decoding), CHECKSUM: _digest(facts), FACTS: facts})


def _code(decoding: Decoding) -> list[str]:
    """Returns everything besides the file content that facts depend on: versions, the code digest and settings."""
    versions = [PIL.__version__, str(heif_version()), imagehash.__version__]
    return [*versions, code_digest(__name__, "tasks.data.image_files"), repr(decoding)]


def _digest(facts: dict[str, Facts]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
