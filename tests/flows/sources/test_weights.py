"""A registered model teaches a new one: brought in as a version, evaluated beside it, and named by the run."""

from __future__ import annotations

import pytest

from tasks.core.files import read_json
from tasks.core.schema import Candidate, Metric


@pytest.mark.slow
def test_a_registered_model_teaches_the_next_one(finished, tmp_path):
    project = finished.copy(tmp_path / "project")
    wanted = ["--objective", "distillation", "--teacher.weights", "models:/rootstock@challenger"]
    done = project.retrain(*wanted, "--finetune.epochs", "2")
    assert done.returncode in {0, 3, 4}, done.stdout + done.stderr
    assert "teacher brought in: " in done.stdout
    table = read_json(project.root / "data" / "evaluate" / "metrics.json")
    assert table[Candidate.TEACHER][Metric.AGREEMENT]["value"] == 1
    assert project.numbers() == [1, 2]
    run = max(project.runs(), key=lambda run: run.info.start_time)
    assert {"tuned/agreement", "tuned/teacher_score", "teacher/accuracy"} <= set(run.data.metrics)
    assert run.data.tags["dvc.teacher_md5"]
