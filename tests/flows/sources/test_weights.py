"""Weights and teachers that are brought in: from torchvision, from a file, from a registered version."""

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
from tests.project import ROOT


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


def test_torchvisions_weights_need_a_name_and_a_network(params, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    wanted = {"architecture": "squeezenet1_1", "weights": "torchvision:IMAGENET9000"}
    with pytest.raises(RootstockError, match="torchvision has no IMAGENET9000 for squeezenet1_1"):
        weights_of(params(backbone=wanted))

    def offline(*_args, **_kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    with pytest.raises(
        RootstockError, match=r"could not be downloaded \(no route to host\).*put it at .*squeezenet1_1"
    ):
        weights_of(params(backbone={**wanted, "weights": "torchvision:DEFAULT"}))


def test_weights_that_were_downloaded_before_are_used_offline(monkeypatch, tmp_path):
    """The file that torchvision names, with its checksum in its name, is handed on with its preprocessing."""
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


def test_nobody_is_a_teacher_too(tmp_path, monkeypatch):
    """The same file each time, with nothing in it."""
    monkeypatch.chdir(tmp_path)
    wanted = load(ROOT / "params.yaml")
    file = teacher_of(wanted)
    assert read(file) == ({}, {})
    assert teacher_of(wanted) == file


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ({"weights": "torchvision:DEFAULT"}, r"teacher\.architecture: name it"),
        ({"weights": "models:/rootstock"}, r"models:/rootstock: which version\? Give models:/name@alias"),
        ({"weights": "nowhere.pth"}, r"teacher\.weights: nowhere\.pth is no file; give .*models:/name@alias$"),
    ],
)
def test_a_teacher_that_cannot_be_had_is_told(teacher, message):
    document = read_document(ROOT / "params.yaml")
    document["teacher"].update(teacher)
    with pytest.raises(RootstockError, match=message):
        teacher_of(check(document))


def test_distillation_without_a_teacher_is_told_at_the_door():
    document = read_document(ROOT / "params.yaml")
    document["objective"] = "distillation"
    with pytest.raises(ParamsError, match="there is no teacher; name models:/rootstock@live"):
        teacher_of(check(document))
