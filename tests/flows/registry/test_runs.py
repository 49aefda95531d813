from __future__ import annotations

from mlflow import MlflowClient

from flows.registry.runs import experiment_id
from tasks.core.errors import RootstockError
from tests.errors import raises


def test_a_deleted_experiment_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    tracker = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    tracker.delete_experiment(experiment_id(tracker, "rootstock"))
    with raises(RootstockError, "register.experiment"):
        experiment_id(tracker, "rootstock")
