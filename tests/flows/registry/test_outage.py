"""A real MLflow server that is killed in the middle of a run, and one that never comes back."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from urllib.request import urlopen

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

from flows.config import parameters
from flows.registry import outage
from flows.registry.outage import Attempts, explained, is_outage
from flows.registry.runs import Run
from flows.stages.supervise import Outcome
from tasks.core.errors import RootstockError
from tests.errors import raises
from tests.project import environment, wait_until


@pytest.fixture(autouse=True)
def _left_as_it_was():
    before = mlflow.get_tracking_uri()
    yield
    mlflow.set_tracking_uri(before)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def mlflow_server(folder, port):
    """Starts a server on this port and waits until it answers; kills it at the end."""
    stores = ["--backend-store-uri", f"sqlite:///{folder}/m.db", "--artifacts-destination", f"{folder}/a"]
    address = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    more = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "server.log").open("ab") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *stores, *address],
            env=environment(**more),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def answers():
        try:
            return urlopen(f"http://127.0.0.1:{port}/health", timeout=5).status == 200
        except OSError:
            return False

    try:
        wait_until(answers)
        yield
    finally:
        subprocess.run(["kill", "-KILL", "--", f"-{server.pid}"], check=False)
        server.wait()


def test_a_server_killed_in_the_middle_of_a_run_costs_nothing(finished, tmp_path, monkeypatch):
    project, port, warnings = finished.copy(tmp_path / "project"), free_port(), []
    monkeypatch.chdir(project.root)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(outage, "PAUSE", 0.5)
    with mlflow_server(tmp_path, port):
        run = Run(parameters.load(), warnings.append)
        run.open()
    start = time.monotonic()
    run.follow_curves()
    for stage in ("features", "head"):
        run.log_stage(Outcome(stage, "computed", 3.0, {"rows": 7}))
    run.close("FAILED")
    assert time.monotonic() - start < 5
    assert len(warnings) == 1
    assert "MLflow does not answer" in warnings[0]
    with mlflow_server(tmp_path, port):
        again = Run(parameters.load(), warnings.append)
        assert again.id == run.id, "the next flow goes on with the run"
        run.catch_up()
        metrics = run.metrics_so_far()
        run.close("FINISHED")
        assert mlflow.MlflowClient().get_run(run.id).info.status == "FINISHED"
    assert {"seconds/features", "head/rows", "tuned/validation_loss"} <= metrics.keys()


def test_a_server_that_does_not_come_back_is_told_in_words(monkeypatch):
    warnings, tracker = [], mlflow.MlflowClient(f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr(outage, "STEP", 0.1)
    with raises(RootstockError, "mlflow-unreachable") as caught:
        Attempts(warnings.append).insist(tracker.search_experiments, wait=0.5)
    assert len(warnings) == 1
    assert "next run goes on from them" in str(caught.value)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with raises(RootstockError, "mlflow-unreachable"), explained():
        tracker.search_experiments()


def test_other_errors_are_no_outage(tmp_path):
    tracker = mlflow.MlflowClient(f"sqlite:///{tmp_path}/m.db")
    with pytest.raises(mlflow.exceptions.MlflowException, match="No Experiment"):
        Attempts(print).insist(lambda: tracker.get_experiment("12345"))
    with pytest.raises(mlflow.exceptions.MlflowException, match="No Experiment"), explained():
        tracker.get_experiment("12345")


def test_a_full_disk_below_a_database_is_no_outage():
    error = MlflowException("(sqlite3.OperationalError) database or disk is full", TEMPORARILY_UNAVAILABLE)
    assert not is_outage(error)
    assert is_outage(MlflowException("(sqlite3.OperationalError) database is locked", TEMPORARILY_UNAVAILABLE))
