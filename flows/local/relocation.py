"""A checkout that was moved or copied: MLflow notes absolute places of artifacts, which would be the old ones."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from itertools import product
from pathlib import Path

from tasks.core.files import write_text

PLACE = "place.txt"  # in the registry: where it was last
SCHEMES = ("", "file://")
LOCATIONS = {  # tables and columns of MLflow's database
    "experiments": "artifact_location",
    "runs": "artifact_uri",
    "logged_models": "artifact_location",
    "model_versions": "storage_location",
}


def settle(registry: Path, database: Path) -> None:
    """Notes where the registry is; in one that was elsewhere before, places below it become those of here.

    One that is seen under two paths stays as it is.
    """
    note, now = registry / PLACE, str(registry)
    if _before(note) == now:
        return
    if database.exists():
        with closing(sqlite3.connect(database, timeout=60, isolation_level=None)) as opened:
            opened.execute("BEGIN IMMEDIATE")
            before = _before(note)  # another process may have been here
            if before and Path(before).exists() and Path(before).samefile(registry):
                return
            for scheme, (table, column) in product(SCHEMES, LOCATIONS.items()):
                old, new = f"{scheme}{before}/", f"{scheme}{now}/"
                opened.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",  # noqa: S608
                    (new, len(old) + 1, len(old), old),
                )
            opened.execute("COMMIT")
    write_text(note, now)


def _before(note: Path) -> str | None:
    return note.read_text(encoding="utf-8") if note.exists() else None
