"""Moved checkouts: MLflow stores absolute artifact paths, which are rewritten when the registry's folder has moved."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from itertools import product
from pathlib import Path

from tasks.core.files import write_text

PLACE = "place.txt"  # a file in the registry that holds the registry's last path
SCHEMES = ("", "file://")
PRIMARY = 0xFF  # the part of SQLite's error codes that names the kind
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)  # the last one: a table is missing
LOCATIONS = {  # table: column in MLflow's database
    "experiments": "artifact_location",
    "runs": "artifact_uri",
    "logged_models": "artifact_location",
    "model_versions": "storage_location",
}


def relocate(registry: Path, database: Path) -> None:
    """Records the registry's path. If it changed, rewrites the paths below it in MLflow's database.

    If the old path still leads to the same folder (through a link or a second mount), nothing changes. In a database
    that is damaged or no MLflow database, paths are left until it is restored: the store says what is wrong with it.
    """
    note = registry / PLACE
    if _recorded(note) == str(registry):
        return
    try:
        if database.exists() and not _rewrite(registry, database, note):
            return
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & PRIMARY not in DAMAGED:
            raise
        return
    write_text(note, str(registry))


def _rewrite(registry: Path, database: Path, note: Path) -> bool:
    """Rewrites the paths in a transaction. Returns False if the old path still leads to the registry."""
    with closing(sqlite3.connect(database, timeout=60, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        before = _recorded(note)  # read again: another process may have moved the paths meanwhile
        if before and Path(before).exists() and Path(before).samefile(registry):
            return False
        for scheme, (table, column) in product(SCHEMES, LOCATIONS.items()):
            old, new = f"{scheme}{before}/", f"{scheme}{registry}/"
            connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",  # noqa: S608
                (new, len(old) + 1, len(old), old),
            )
        connection.execute("COMMIT")
    return True


def _recorded(note: Path) -> str | None:
    return note.read_text(encoding="utf-8") if note.exists() else None
