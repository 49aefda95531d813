"""A database that was lost is told, if there is a ledger about its versions."""

from __future__ import annotations

from functools import partial

import pytest

from flows.local import database
from flows.local.database import check_not_lost
from flows.local.environment import LOCAL_DATABASE
from flows.local.servers import up
from flows.registry.store import client
from tasks.core.errors import RootstockError
from tests.errors import raises


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "DATABASE", tmp_path / "mlflow.db")
    monkeypatch.setattr(database, "LEDGERS", tmp_path / "ledger")
    (tmp_path / "ledger").mkdir()
    return tmp_path


def test_a_new_checkout_has_neither(place):
    check_not_lost()
    (place / "mlflow.db").touch()
    (place / "ledger" / "rootstock-own.jsonl").touch()
    (place / "ledger" / "rootstock-0a1b2c3d.jsonl").write_text("of another registry\n")
    check_not_lost()


@pytest.mark.parametrize("state", ["empty", "missing"])
def test_an_empty_or_missing_database_is_told_if_a_ledger_is_about_it(place, state):
    ledger = place / "ledger" / "rootstock-own.jsonl"
    ledger.write_text("a line\n")
    if state == "empty":
        (place / "mlflow.db").touch()
    with raises(RootstockError, "mlflow-database") as caught:
        check_not_lost()
    assert state in str(caught.value)
    assert str(ledger) in str(caught.value)
    (place / "mlflow.db").write_text("restored")
    check_not_lost()


@pytest.mark.parametrize("use", [client, partial(up, shared=False)])
def test_neither_a_command_nor_the_servers_begin_a_new_one(place, monkeypatch, use):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", LOCAL_DATABASE)
    (place / "ledger" / "rootstock-own.jsonl").write_text("a line\n")
    with raises(RootstockError, "mlflow-database"):
        use()
