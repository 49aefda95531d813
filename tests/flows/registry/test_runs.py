from __future__ import annotations

import pytest
from mlflow import MlflowClient

from flows.registry.runs import experiment_id
from tasks.core.errors import RootstockError


def test_an_experiment_that_was_deleted_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    tracker = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    tracker.delete_experiment(experiment_id(tracker, "rootstock"))
    with pytest.raises(RootstockError, match="the experiment rootstock was deleted in MLflow"):
        experiment_id(tracker, "rootstock")
