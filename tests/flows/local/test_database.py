"""A lost database with a ledger about its versions is an error, and one is created whole or not at all."""

from __future__ import annotations

import subprocess
import sys
import time
from functools import partial

import pytest
from mlflow import MlflowClient

from flows.local import database
from flows.local.database import check_not_lost
from flows.local.environment import LOCAL_DATABASE
from flows.local.servers import up
from flows.registry.store import client
from tasks.core.errors import RootstockError
from tests.errors import raises
from tests.project import ROOT, environment, wait_until


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
def test_an_empty_or_missing_database_is_an_error_if_a_ledger_is_about_it(place, state):
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


CREATE = """
import sys
from pathlib import Path
from flows.local import database
database.DATABASE = Path(sys.argv[1])
database.LEDGERS = Path(sys.argv[1]).with_name("ledger")
database.prepare()
"""


@pytest.mark.parametrize("after", [0.0, 0.1, 0.3])
def test_a_creation_that_is_killed_leaves_no_database_and_the_next_one_works(tmp_path, after):
    file = tmp_path / "mlflow.db"
    first = subprocess.Popen([sys.executable, "-c", CREATE, str(file)], cwd=ROOT, env=environment())
    wait_until(lambda: any(tmp_path.glob("mlflow.db.new*")), 60)
    time.sleep(after)
    first.kill()
    first.wait()
    run = subprocess.run([sys.executable, "-c", CREATE, str(file)], cwd=ROOT, env=environment(), check=False)
    assert run.returncode == 0
    assert [path.name for path in tmp_path.glob("mlflow.db*") if path.suffix != ".lock"] == ["mlflow.db"]
    MlflowClient(f"sqlite:///{file}").create_experiment("works", artifact_location=tmp_path.as_uri())
