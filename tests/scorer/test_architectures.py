"""Every classification architecture of torchvision; make bench ARGS=architectures computes with all of them."""

from __future__ import annotations

import pytest
import torch

from tasks.models.backbone import preprocessing_of
from tasks.models.freezing import freeze_all_but_last
from tests.scorer.architectures import ALL, examined, structure, within

SMALL = (
    "densenet121",
    "efficientnet_b0",
    "googlenet",
    "mnasnet0_5",
    "mobilenet_v3_small",
    "regnet_x_400mf",
    "resnet18",
)
SMALL += ("shufflenet_v2_x0_5", "squeezenet1_1", "swin_t")


@pytest.mark.parametrize("architecture", ALL)
def test_each_tells_its_preprocessing_width_and_ordered_blocks(architecture):
    found = preprocessing_of(architecture, {}, None, None)
    assert 0 < found.crop <= found.resize
    module, width, ordered = structure(architecture)
    assert width >= 256
    assert len(ordered) >= 5
    names = [name for name, _ in module.named_parameters()]
    owners = [sum(within(name, block) for block in ordered) for name in names]
    assert set(owners) == {1}, "a parameter is in no block, or in two"
    learning = freeze_all_but_last(module, 2)
    assert {name for name, p in module.named_parameters() if p.requires_grad} == {
        name for name in names if any(within(name, block) for block in learning)
    }


@pytest.mark.parametrize("architecture", SMALL)
def test_each_family_gives_features_takes_a_head_and_stays_frozen(architecture):
    assert examined(architecture)["computed"]


@pytest.mark.parametrize(("architecture", "layers"), [("resnet8", 8), ("resnet20", 20)])
def test_networks_for_small_pictures_see_every_pixel_before_they_pool(architecture, layers):
    module, width, ordered = structure(architecture)
    weights = [name for name, p in module.named_parameters() if p.dim() > 1 and "downsample" not in name]
    assert len(weights) + 1 == layers  # and the head's
    assert width == 64
    assert len(ordered) == 1 + (layers - 2) // 2
    assert module[:4](torch.zeros(2, 3, 28, 28)).shape == (2, 16, 28, 28)
    assert module(torch.zeros(2, 3, 28, 28)).shape == (2, 64)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["convnext_tiny", "inception_v3", "maxvit_t", "vgg11_bn", "vit_b_32"])
def test_the_larger_families_too(architecture):
    examined(architecture)
