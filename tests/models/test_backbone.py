from __future__ import annotations

import pytest
import torch
from torchvision import models

from tasks.core.errors import RootstockError
from tasks.models.backbone import (
    assumption_of,
    build,
    check_architecture,
    embed,
    preprocessing_of,
    torchvision_name,
    torchvision_preprocessing,
)
from tasks.models.weights_file import SHA256, read
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


@pytest.mark.parametrize(
    "changes", [3, None, [], {}, {"mean": 3}, {"crop": "wide"}, {"resize": None}, {"interpolate": 1}, {"decoding": 3}]
)
def test_a_description_that_is_no_preprocessing_is_refused(changes):
    fields = {**DESCRIPTION["preprocessing"], **changes} if isinstance(changes, dict) and changes else changes
    with raises(RootstockError, "weights-description"):
        preprocessing_of("resnet10", {"preprocessing": fields}, None, None)


def test_features_do_not_depend_on_the_place_in_a_batch_of_one_shape():
    """They are bitwise equal, which allows features to be stored one by one."""
    module, _ = build_backbone("resnet10")
    x = torch.randn(8, 3, 32, 32)
    features = embed(module.eval(), x)
    order = torch.tensor([5, 2, 7, 0, 1, 3, 6, 4])
    assert torch.equal(embed(module, x[order]), features[order])


def digest_in(url):
    return url.removesuffix(".pth").rpartition("-")[2]


@pytest.mark.parametrize("architecture", models.list_models(module=models))
def test_a_file_of_torchvision_gets_its_own_preprocessing_whatever_its_name(architecture):
    for weights in models.get_model_weights(architecture):
        description = {SHA256: f"{digest_in(weights.url):0<64}"}
        ours, theirs = preprocessing_of(architecture, description, None, None), weights.transforms()
        assert torchvision_name(architecture, description) == weights.name
        assert (ours.resize, ours.crop) == (theirs.resize_size[0], theirs.crop_size[0])
        assert ours.interpolation == theirs.interpolation.value
        assert assumption_of(architecture, description) is None


def test_digests_in_the_urls_of_torchvision_are_hexadecimal_and_differ():
    digests = [
        [digest_in(weights.url) for weights in models.get_model_weights(architecture)]
        for architecture in models.list_models(module=models)
    ]
    assert all(len(digest) >= 8 and int(digest, 16) for of_one in digests for digest in of_one)
    assert all(len({*of_one}) == len(of_one) for of_one in digests)


def test_preprocessing_of_an_unknown_file_is_assumed_and_said(tmp_path):
    torch.save(
        build_backbone("resnet50")[0].state_dict(), tmp_path / "resnet50-11ad3fa6.pth"
    )  # its name is IMAGENET1K_V2's
    _, description = read(tmp_path / "resnet50-11ad3fa6.pth")
    assert torchvision_name("resnet50", description) is None
    assert preprocessing_of("resnet50", description, None, None) == torchvision_preprocessing("resnet50")
    assert "is assumed: resize 256, crop 224, bilinear" in assumption_of("resnet50", description)
    assert assumption_of("resnet10", DESCRIPTION) is None
    assert torchvision_name("resnet10", description) is None
