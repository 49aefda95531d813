"""Real photographs and real ImageNet weights, from the folder that ROOTSTOCK_ASSETS names."""

from __future__ import annotations

import mlflow
import numpy as np
import pandas as pd
import pytest
from torch import nn

from flows.config.overrides import apply
from tasks.core.files import read_json
from tasks.core.schema import Candidate
from tasks.models.backbone import build
from tasks.models.weights_file import read
from tasks.scorer.answer import Scorer, spec_of
from tasks.scorer.network import Network
from tests.benchmarks.study import Study

pytestmark = pytest.mark.assets
MOBILENET = {"backbone.architecture": "mobilenet_v2", "augment.flip": True, "augment.fill": "mirror"}
SHORT = {
    "augment.views": 1,
    "features.views": 1,
    "finetune.epochs": 1,
    "finetune.batch": 32,
    "compute.batch": 64,
    "scratch.run": False,
    "evaluate.corrupted": 20,
}


@pytest.mark.parametrize(("folder", "name", "least"), [("ants", "ant", 0.7), ("bees", "bee", 0.75)])
def test_imagenet_weights_know_ants_and_bees_before_any_training(assets, folder, name, least):
    """This shows that the preprocessing matches the weights' training."""
    state, _ = read(assets / "weights" / "mobilenet_v2.pth")
    backbone = build("mobilenet_v2", state, {}, None, None)
    assert (backbone.preprocessing.resize, backbone.preprocessing.crop) == (256, 224)
    head = nn.Linear(backbone.width, 1000)
    head.load_state_dict({"weight": state["classifier.1.weight"], "bias": state["classifier.1.bias"]})
    lines = (assets / "weights" / "imagenet_classes.txt").read_text().splitlines()
    classes = [line.split(",")[0] for line in lines]
    scorer = Scorer(Network(backbone.module, head), spec_of("mobilenet_v2", classes, backbone.preprocessing))
    pictures = [file.read_bytes() for file in sorted((assets / "hymenoptera" / "val" / folder).iterdir())]
    answers = [classes[place] for place in scorer.logits(pictures).argmax(1)]
    assert np.mean([answer == name for answer in answers]) >= least


@pytest.mark.slow
def test_ants_and_bees_from_folder_to_registry(assets, prepared, tmp_path):
    """The whole flow with a MobileNetV2 from a .pth file; the data set's own val is the test split."""
    project = prepared.copy(tmp_path / "project")
    changes = {
        **MOBILENET,
        **SHORT,
        "data.source": assets / "hymenoptera",
        "backbone.weights": assets / "weights" / "mobilenet_v2.pth",
        "backbone.resize": None,
        "backbone.crop": None,
        "compute.precision": "auto",
    }
    arguments = [
        part for name, value in changes.items() for part in (f"--{name}", "null" if value is None else str(value))
    ]
    apply(arguments, project.root / "params.yaml")
    done = project.retrain()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "397 images, 2 classes: 195 train, 49 validation, 153 test" in done.stdout
    metrics = read_json(project.root / "data" / "evaluate" / "metrics.json")
    assert metrics[Candidate.PROBE]["accuracy"]["value"] >= 0.9
    assert metrics[Candidate.TUNED]["accuracy"]["value"] >= 0.9
    (model,) = (project.root / ".registry" / "artifacts").rglob("MLmodel")
    scorer = mlflow.pyfunc.load_model(str(model.parent))
    rows = pd.read_parquet(project.root / "data" / "evaluate" / "predictions.parquet")
    pictures = [(project.root / "data" / "raw" / path).read_bytes() for path in rows["path"][:5]]
    assert list(scorer.predict(pd.DataFrame({"image": pictures}))["label"]) == list(rows["predicted"][:5])


def test_a_network_without_linear_layers_and_without_batchnorm(assets, tmp_path):
    """SqueezeNet, whose classifier is a convolution: extracts features and trains a head."""
    weights = assets / "weights" / "squeezenet1_0.pth"
    changes = {"backbone.architecture": "squeezenet1_0", "augment.views": 1, "features.views": 0}
    study = Study(tmp_path / "study", assets / "hymenoptera", weights, changes)
    study.run("ingest", "augment", "features", "head")
    chosen = max(read_json(study.paths.probe), key=lambda row: row["score"])
    assert chosen["score"] >= 0.85
