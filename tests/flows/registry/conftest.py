"""Fixtures: a small network's results, and the version registered for them in a registry of its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pandas as pd
import pytest
from safetensors.torch import save_file

from flows.registry import register
from flows.registry.register import TASKS
from flows.registry.store import client
from tasks.core.paths import Paths
from tasks.core.target import TargetSpec
from tasks.scorer.answer import Scorer, spec_of
from tasks.scorer.network import build_network
from tasks.scorer.preprocessing import Preprocessing
from tests.flows.registry.test_scorer_code import plant
from tests.registered.drawing import COUNT, SHAPES, picture

PICTURES = [picture(number) for number in range(COUNT)]
PREPROCESSING = Preprocessing(32, 32, (0.5,) * 3, (0.5,) * 3, "bilinear")
STRAY = "raise SystemExit('what lies beside was run')\n"


@pytest.fixture
def evaluated(paths, tmp_path, monkeypatch) -> Paths:
    """Writes a small network's results, and files that must not be shipped beside the scorer's code."""
    paths = written(paths.model_copy(update={"raw": tmp_path / "raw"}), TargetSpec(classes=SHAPES))
    scorer = Scorer.load(paths.spec, paths.tuned)
    rows = pd.DataFrame([scorer.row(logits_C) for logits_C in scorer.logits(PICTURES)]).drop(columns="distribution")
    rows.assign(path=write_pictures(paths), predicted=rows["label"]).to_parquet(paths.predictions)
    code = tmp_path / "tasks"
    shutil.copytree(TASKS / "scorer", code / "scorer", ignore=shutil.ignore_patterns("__pycache__"))
    (code / "scorer" / "stray.py").write_text(STRAY)
    plant(code / "scorer" / "decode.py", STRAY.encode())
    monkeypatch.setattr(register, "TASKS", code)
    monkeypatch.setattr(register, "lineage", lambda _paths: {})
    monkeypatch.setattr(register.dvc_cli, "out_md5s", lambda stage: {stage: "the same"})
    return paths


def written(paths: Paths, target: TargetSpec, **options) -> Paths:
    """Writes a random network for the target with its spec."""
    for file in (paths.spec, paths.tuned, paths.task):
        file.parent.mkdir(parents=True)
    target.save(paths.task)
    paths.spec.write_text(json.dumps(spec_of("resnet8", target.classes, PREPROCESSING, **options)))
    save_file(build_network("resnet8", target.num_outputs).state_dict(), paths.tuned)
    return paths


def write_pictures(paths: Paths) -> list[str]:
    """Writes PICTURES as the images of the results. Returns their names."""
    paths.raw.mkdir()
    names = [f"{number}.png" for number in range(COUNT)]
    for name, content in zip(names, PICTURES, strict=True):
        (paths.raw / name).write_bytes(content)
    return names


@pytest.fixture
def version(evaluated, tmp_path, monkeypatch):
    """Returns the version registered for the network, in a separate registry."""
    before = mlflow.get_tracking_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    tracker = client()
    experiment = tracker.create_experiment("rootstock", artifact_location=(tmp_path / "registry").as_uri())
    run = SimpleNamespace(client=tracker, experiment=experiment, id=tracker.create_run(experiment).info.run_id)
    yield register._create(run, "rootstock", evaluated, "a key")
    mlflow.set_tracking_uri(before)


@pytest.fixture
def stored(version, tmp_path) -> Path:
    """Returns the folder in which MLflow stores the version."""
    (file,) = (tmp_path / "registry").rglob("MLmodel")
    return file.parent
