"""Sources of weights and teachers: torchvision, a file or a registered version."""

from __future__ import annotations

import pytest
import torch

from flows.config.parameters import check, load
from flows.sources.weights import downloaded, teacher_of, weights_of
from tasks.core.errors import ParamsError, RootstockError
from tasks.core.files import read_json
from tasks.core.params import read_document
from tasks.core.schema import Candidate, Metric
from tasks.models.weights_file import read
from tests.errors import raises
from tests.project import ROOT


@pytest.mark.slow
def test_a_registered_model_teaches_the_next_one(finished, tmp_path):
    project = finished.copy(tmp_path / "project")
    overrides = ["--objective", "distillation", "--teacher.weights", "models:/rootstock@challenger"]
    done = project.retrain(*overrides, "--finetune.epochs", "2")
    assert done.returncode in {0, 3, 4}, done.stdout + done.stderr
    assert "teacher brought in: " in done.stdout
    table = read_json(project.root / "data" / "evaluate" / "metrics.json")
    assert table[Candidate.TEACHER][Metric.AGREEMENT]["value"] == 1
    assert project.numbers() == [1, 2]
    run = max(project.runs(), key=lambda run: run.info.start_time)
    assert {"tuned/agreement", "tuned/teacher_score", "teacher/accuracy"} <= set(run.data.metrics)
    assert run.data.tags["dvc.teacher_md5"]


def test_torchvisions_weights_need_a_name_and_a_network(params, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    backbone = {"architecture": "squeezenet1_1", "weights": "torchvision:IMAGENET9000"}
    with raises(RootstockError, "backbone.weights") as caught:
        weights_of(params(backbone=backbone))
    assert "IMAGENET9000" in str(caught.value)

    def offline(*_args, **_kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    with raises(RootstockError, "download-failed") as caught:
        weights_of(params(backbone={**backbone, "weights": "torchvision:DEFAULT"}))
    assert "no route to host" in str(caught.value)
    assert str(tmp_path / "torch" / "hub" / "checkpoints" / "squeezenet1_1") in str(caught.value)


def test_weights_that_were_downloaded_before_are_used_offline(monkeypatch, tmp_path):
    """torchvision's cached file, whose name includes its checksum, is converted with its preprocessing."""
    from torchvision.models import SqueezeNet1_1_Weights, squeezenet1_1

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    name = SqueezeNet1_1_Weights.DEFAULT.url.rpartition("/")[2]
    file = tmp_path / "torch" / "hub" / "checkpoints" / name
    file.parent.mkdir(parents=True)
    network = squeezenet1_1()
    torch.save(network.state_dict(), file)
    state, description = read(downloaded("squeezenet1_1", "DEFAULT", tmp_path))
    assert torch.equal(state["features.0.weight"], network.state_dict()["features.0.weight"])
    assert description["preprocessing"]["resize"] == 256


def test_without_a_teacher_there_is_an_empty_file(tmp_path, monkeypatch):
    """The file is the same each time."""
    monkeypatch.chdir(tmp_path)
    params = load(ROOT / "params.yaml")
    file = teacher_of(params)
    assert read(file) == ({}, {})
    assert teacher_of(params) == file


@pytest.mark.parametrize(
    ("teacher", "key", "fact"),
    [
        ({"weights": "torchvision:DEFAULT"}, "teacher.architecture", "resnet50"),
        ({"weights": "torchvision:NONE", "architecture": "resnet18"}, "teacher.weights", "NONE"),
        ({"weights": "models:/rootstock"}, "no-version", "models:/rootstock"),
        ({"weights": "nowhere.pth"}, "teacher.weights", "nowhere.pth"),
    ],
)
def test_a_teacher_that_is_not_available_is_refused(teacher, key, fact):
    document = read_document(ROOT / "params.yaml")
    document["teacher"].update(teacher)
    with raises(RootstockError, key) as caught:
        teacher_of(check(document))
    assert fact in str(caught.value)
    assert "random" not in str(caught.value), "only a backbone can be random"


def test_distillation_without_a_teacher_is_refused():
    document = read_document(ROOT / "params.yaml")
    document["objective"] = "distillation"
    with raises(ParamsError, "teacher.weights"):
        teacher_of(check(document))
