from __future__ import annotations

import hashlib

import pytest
import torch

from tasks.core.errors import RootstockError
from tasks.models.backbone import build, check_architecture, embed, preprocessing_of
from tasks.models.freezing import blocks, freeze_all_but_last, learn_mode, parameter_groups
from tasks.scorer.scorer import build_backbone, build_network

DESCRIPTION = {
    "preprocessing": {"resize": 40, "crop": 32, "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear"}
}


def tiny_state():
    return build_backbone("resnet10")[0].state_dict()


def digest(module, names=None):
    state = module.state_dict()
    parts = (state[name].numpy().tobytes() for name in sorted(state if names is None else names))
    return hashlib.sha256(b"".join(parts)).hexdigest()


def test_a_backbone_is_built_from_weights_that_fit():
    state = tiny_state()
    backbone = build(
        "resnet10", {**state, "fc.weight": torch.zeros(62, 512), "fc.bias": torch.zeros(62)}, DESCRIPTION, None, None
    )
    assert (backbone.width, backbone.preprocessing.crop, backbone.module.training) == (512, 32, False)
    assert torch.equal(backbone.module.state_dict()["conv1.weight"], state["conv1.weight"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda state: {name: value for name, value in state.items() if name != "layer3.0.conv1.weight"},
            "missing layer3.0.conv1.weight",
        ),
        (lambda state: {**state, "layer9.weight": torch.zeros(1)}, "unknown layer9.weight"),
        (
            lambda state: {**state, "conv1.weight": torch.zeros(64, 3, 3, 3)},
            r"conv1.weight is \[64, 3, 3, 3\], not \[64, 3, 7, 7\]",
        ),
        (lambda state: {f"module.{name}": value for name, value in state.items()}, "and .* more"),
    ],
)
def test_weights_that_do_not_fit_are_named(change, told):
    with pytest.raises(RootstockError, match=told):
        build("resnet10", change(tiny_state()), DESCRIPTION, None, None)


def test_a_wrong_name_is_answered_with_near_ones():
    with pytest.raises(RootstockError, match="resnet50"):
        check_architecture("resnet51")


def test_preprocessing_comes_from_the_weights_then_the_parameters():
    assert preprocessing_of("resnet10", DESCRIPTION, 64, 48).resize == 64
    imagenet = preprocessing_of("mobilenet_v2", {}, None, None)
    assert (imagenet.resize, imagenet.crop, imagenet.mean[0]) == (256, 224, 0.485)
    boxed = preprocessing_of("mobilenet_v2", {}, None, None, letterbox=True)
    assert (boxed.resize, boxed.crop, boxed.letterbox) == (224, 224, True)
    earlier = {"preprocessing": {**DESCRIPTION["preprocessing"], "letterbox": True}}
    assert not preprocessing_of("resnet10", earlier, None, None).letterbox
    with pytest.raises(RootstockError, match=r"with a letterbox the picture is as large as backbone\.crop"):
        preprocessing_of("mobilenet_v2", {}, 512, None, letterbox=True)
    with pytest.raises(RootstockError, match="larger than"):
        preprocessing_of("mobilenet_v2", {}, 100, None)
    with pytest.raises(RootstockError, match="do not say their preprocessing"):
        preprocessing_of("resnet10", {}, None, None)


@pytest.mark.parametrize(
    ("architecture", "count", "last"),
    [
        ("resnet10", 5, ("layer4.0",)),
        ("resnet18", 9, ("layer4.1",)),
        ("mobilenet_v2", 19, ("features.18",)),
        ("squeezenet1_1", 9, ("features.12",)),
    ],
)
def test_blocks_are_ordered_and_hold_every_parameter(architecture, count, last):
    module, _ = build_backbone(architecture)
    found = blocks(module)
    assert (len(found), found[-1]) == (count, last)
    held = {name for block in found for part in block for name, _ in module.get_submodule(part).named_parameters(part)}
    assert held == {name for name, _ in module.named_parameters()}


@pytest.mark.parametrize("count", [0, 1, 2, 99])
@pytest.mark.parametrize("statistics", [True, False])
def test_what_is_frozen_stays_so_in_training_mode_by_hash(count, statistics):
    """Parameters and BatchNorm buffers, after real steps."""
    network = build_network("resnet10", 3)
    learning = freeze_all_but_last(network.backbone, count)
    frozen = [
        name
        for name in network.backbone.state_dict()
        if not any(name.startswith(f"{part}.") for block in learning for part in block)
    ]
    before, all_before = digest(network.backbone, frozen), digest(network.backbone)
    optimiser = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], 0.1)
    for _ in range(2):
        learn_mode(network, learning, batch_statistics=statistics)
        optimiser.zero_grad()
        network(torch.randn(4, 3, 32, 32)).square().mean().backward()
        optimiser.step()
    assert digest(network.backbone, frozen) == before
    assert (digest(network.backbone) == all_before) == (count == 0)
    buffers = {name for name in network.backbone.state_dict() if name.endswith("num_batches_tracked")}
    moved = {name for name in buffers if network.backbone.state_dict()[name] > 0}
    assert bool(moved) == (statistics and count > 0)


def test_rates_fall_from_block_to_block():
    network = build_network("resnet10", 3)
    learning = freeze_all_but_last(network.backbone, 3)
    groups = parameter_groups(network, learning, 1.0, 0.1, 0.5)
    assert [group["rate"] for group in groups] == [1.0, 0.1, 0.05, 0.025]
    assert groups[1]["params"][0] is next(network.backbone.get_submodule("layer4.0").parameters())
    grouped = {id(p) for group in groups for p in group["params"]}
    assert grouped == {id(p) for p in network.parameters() if p.requires_grad}


def test_features_do_not_depend_on_the_place_in_a_batch_of_one_shape():
    """Bit by bit: this is what lets features be stored one by one."""
    module, _ = build_backbone("resnet10")
    x = torch.randn(8, 3, 32, 32)
    features = embed(module.eval(), x)
    order = torch.tensor([5, 2, 7, 0, 1, 3, 6, 4])
    assert torch.equal(embed(module, x[order]), features[order])
