"""Facts of images by their files' content, kept between runs: only files that are new are decoded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import imagehash
import PIL

from tasks.core.digest import code_digest
from tasks.core.files import read_json, write_json
from tasks.core.schema import Column

CODE, CHECKSUM, FACTS = "code", "sha256", "facts"
OWN = (Column.PATH, Column.SHA256)  # of a file, not of its content


def recalled(file: Path) -> dict[str, dict[str, Any]]:
    """The facts of each content, by its SHA-256; none where nothing whole is kept that this code has found."""
    try:
        kept = read_json(file)
        whole = kept[CODE] == _code() and kept[CHECKSUM] == _digest(kept[FACTS])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return dict(kept[FACTS]) if whole else {}


def remember(file: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Keeps the facts of these rows, and no others."""
    facts = {
        row[Column.SHA256]: {str(name): value for name, value in row.items() if name not in OWN}
        for row in rows
        if Column.SHA256 in row
    }
    write_json(file, {CODE: _code(), CHECKSUM: _digest(facts), FACTS: facts})


def _code() -> list[str]:
    """Returns what facts depend on, beside the content."""
    return [PIL.__version__, imagehash.__version__, code_digest(__name__, "tasks.data.image_files")]


def _digest(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
