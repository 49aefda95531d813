from __future__ import annotations

import pytest
import torch

from tasks.core.errors import RootstockError
from tasks.models.backbone import build, check_architecture, embed, preprocessing_of
from tasks.scorer.architectures import build_backbone
from tests.errors import raises

DESCRIPTION = {
    "preprocessing": {"resize": 40, "crop": 32, "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear"}
}


def tiny_state():
    return build_backbone("resnet10")[0].state_dict()


def test_a_backbone_is_built_from_weights_that_fit():
    state = tiny_state()
    backbone = build(
        "resnet10", {**state, "fc.weight": torch.zeros(62, 512), "fc.bias": torch.zeros(62)}, DESCRIPTION, None, None
    )
    assert (backbone.width, backbone.preprocessing.crop, backbone.module.training) == (512, 32, False)
    assert torch.equal(backbone.module.state_dict()["conv1.weight"], state["conv1.weight"])


@pytest.mark.parametrize(
    ("change", "mismatch"),
    [
        (
            lambda state: {name: value for name, value in state.items() if name != "layer3.0.conv1.weight"},
            "missing layer3.0.conv1.weight",
        ),
        (lambda state: {**state, "layer9.weight": torch.zeros(1)}, "unknown layer9.weight"),
        (
            lambda state: {**state, "conv1.weight": torch.zeros(64, 3, 3, 3)},
            "conv1.weight is [64, 3, 3, 3], not [64, 3, 7, 7]",
        ),
        (lambda state: {f"module.{name}": value for name, value in state.items()}, " more"),
    ],
)
def test_weights_that_do_not_fit_are_named(change, mismatch):
    with raises(RootstockError, "backbone.weights") as caught:
        build("resnet10", change(tiny_state()), DESCRIPTION, None, None)
    assert mismatch in str(caught.value)


def test_a_wrong_name_is_reported_with_similar_ones():
    with raises(RootstockError, "backbone.architecture") as caught:
        check_architecture("resnet51")
    assert "resnet50" in str(caught.value)


def test_preprocessing_comes_from_the_weights_then_the_parameters():
    assert preprocessing_of("resnet10", DESCRIPTION, 64, 48).resize == 64
    imagenet = preprocessing_of("mobilenet_v2", {}, None, None)
    assert (imagenet.resize, imagenet.crop, imagenet.mean[0]) == (256, 224, 0.485)
    boxed = preprocessing_of("mobilenet_v2", {}, None, None, letterbox=True)
    assert (boxed.resize, boxed.crop, boxed.letterbox) == (224, 224, True)
    earlier = {"preprocessing": {**DESCRIPTION["preprocessing"], "letterbox": True}}
    assert not preprocessing_of("resnet10", earlier, None, None).letterbox
    with raises(RootstockError, "backbone.resize"):
        preprocessing_of("mobilenet_v2", {}, 512, None, letterbox=True)
    with raises(RootstockError, "backbone.crop"):
        preprocessing_of("mobilenet_v2", {}, 100, None)
    with raises(RootstockError, "backbone.weights"):
        preprocessing_of("resnet10", {}, None, None)


def test_features_do_not_depend_on_the_place_in_a_batch_of_one_shape():
    """They are bitwise equal, which allows features to be stored one by one."""
    module, _ = build_backbone("resnet10")
    x = torch.randn(8, 3, 32, 32)
    features = embed(module.eval(), x)
    order = torch.tensor([5, 2, 7, 0, 1, 3, 6, 4])
    assert torch.equal(embed(module, x[order]), features[order])
