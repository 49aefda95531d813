"""A checkout that was moved or copied: MLflow notes absolute places of artifacts, which would be the old ones."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tasks.parts.files import write_text

PLACE = "place.txt"  # in the registry: where it was last
LOCATIONS = {  # tables and columns of MLflow's database
    "experiments": "artifact_location",
    "runs": "artifact_uri",
    "logged_models": "artifact_location",
    "model_versions": "storage_location",
}


def settle(registry: Path, database: Path) -> None:
    """Notes where the registry is; in one that was elsewhere before, places below it become those of here."""
    note, now = registry / PLACE, str(registry)
    before = note.read_text(encoding="utf-8") if note.exists() else None
    if before == now:
        return
    if before and database.exists():
        with closing(sqlite3.connect(database, timeout=60)) as opened, opened:
            for table, column in LOCATIONS.items():
                opened.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (f"{before}/", f"{now}/"))  # noqa: S608
    write_text(note, now)
