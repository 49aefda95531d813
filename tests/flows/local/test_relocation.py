"""A moved registry whose database is damaged."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from flows.local.relocation import PLACE, relocate

CONTENTS = {"empty": b"", "no database": b"junk" * 2000}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_a_damaged_database_is_left_as_it_is_until_it_is_restored(tmp_path, content):
    database = tmp_path / "mlflow.db"
    database.write_bytes(content)
    relocate(tmp_path, database)
    assert database.read_bytes() == content
    assert not (tmp_path / PLACE).exists(), "the paths are still to be rewritten"


def test_a_busy_database_is_an_error(tmp_path, monkeypatch):
    database, connect = tmp_path / "mlflow.db", sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda file, **how: connect(file, **{**how, "timeout": 0.1}))
    with closing(connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            relocate(tmp_path, database)
