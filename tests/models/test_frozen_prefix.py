"""The frozen prefix, split from the rest, and its activations in place of inputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from tasks.core.sections import AugmentPolicy
from tasks.hardware.device import choose
from tasks.images.loading import ImageSquares
from tasks.images.transforms import RenderStyle
from tasks.images.views import Views
from tasks.models.freezing import blocks, freeze_all_but_last, layers, parameter_groups, within
from tasks.models.frozen_prefix import split_at_first_trainable
from tasks.scorer.architectures import build_backbone
from tasks.scorer.network import Network
from tasks.scorer.preprocessing import Preprocessing
from tasks.training.activation_cache import CachedBatches, fits, reserve
from tasks.training.batches import Batches
from tests.scorer.architectures import side_of

CPU = choose("cpu", "float32")
PREPROCESSING = Preprocessing(32, 32, (0.5,) * 3, (0.5,) * 3, "bilinear")
SHIFTED = {"shift": 0.2, "scale": 0.0, "flip": False, "colour": 0.0, "rotation": 0.0, "erase": 0.0}
SHIFTED |= {"automatic": "none", "fill": "black", "check": False}
SOME = ("resnet10", "mobilenet_v3_small", "densenet121", "googlenet", "squeezenet1_1", "shufflenet_v2_x0_5", "swin_t")


@pytest.mark.parametrize(
    "architecture", [*SOME, *(pytest.param(name, marks=pytest.mark.slow) for name in ("vit_b_32", "maxvit_t", "vgg16"))]
)
def test_prefix_and_rest_are_the_whole_bit_by_bit_and_share_its_layers(architecture):
    module, _ = build_backbone(architecture)
    learning = freeze_all_but_last(module.eval(), 2)
    prefix, rest = split_at_first_trainable(module, learning)
    x = torch.randn(2, 3, side_of(architecture), side_of(architecture))
    with torch.inference_mode():
        assert torch.equal(rest(prefix(x)), module(x))
    assert not any(parameter.requires_grad for parameter in prefix.parameters())
    parameters = dict(module.named_parameters())
    learns = {name for name, p in rest.named_parameters() if p.requires_grad}
    assert learns == {name for name, p in parameters.items() if p.requires_grad}
    assert all(parameters[name] is p for name, p in rest.named_parameters())


def test_there_is_no_prefix_where_all_learns_and_all_is_one_where_nothing_does():
    module, width = build_backbone("resnet10")
    assert split_at_first_trainable(module.eval(), freeze_all_but_last(module, 99)) is None
    prefix, rest = split_at_first_trainable(module, freeze_all_but_last(module, 0))
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(rest(prefix(x)), module(x))
    assert prefix(x).shape == (2, width)


@pytest.mark.parametrize("architecture", ["vit_b_16", "swin_t", "convnext_tiny", "resnet10"])
def test_every_parameter_is_in_one_layer(architecture):
    """This includes attention, and blocks with parameters besides those of their layers."""
    module, _ = build_backbone(architecture)
    held = [name for name, _ in module.named_parameters() for layer in layers(module) if within(name, layer)]
    assert sorted(held) == sorted(name for name, _ in module.named_parameters())
    learning = freeze_all_but_last(module, 6, "layers")
    groups = parameter_groups(Network(module, torch.nn.Identity()), learning, 0.1, 0.1, 1.0)[1:]
    torch.optim.AdamW([{"params": group.parameters} for group in groups])


@pytest.mark.parametrize("architecture", ["resnet10", "mobilenet_v3_small", "densenet121", "convnext_tiny"])
def test_a_cut_within_a_block_keeps_the_whole_block(architecture):
    module, _ = build_backbone(architecture)
    assert len(layers(module)) > len(blocks(module))
    for count in (1, 3, 7):
        prefix, rest = split_at_first_trainable(module.eval(), freeze_all_but_last(module, count, "layers"))
        assert not any(parameter.requires_grad for parameter in prefix.parameters())
        x = torch.randn(2, 3, 64, 64)
        with torch.inference_mode():
            assert torch.equal(rest(prefix(x)), module(x))


@pytest.fixture
def train(tmp_path):
    names = [f"{number}.png" for number in range(10)]
    for name in names:
        Image.fromarray(np.random.default_rng(int(name[0])).integers(0, 255, (40, 40, 3), np.uint8)).save(
            tmp_path / name
        )
    squares = ImageSquares(tmp_path, names, PREPROCESSING, 1.0)
    return Batches(squares, torch.arange(10) % 3, torch.arange(1.0, 11), PREPROCESSING, CPU, 4)


def views(count):
    return Views([str(number) for number in range(10)], AugmentPolicy(seed=1, **{**SHIFTED, "views": count}))


def test_cached_batches_are_the_prefix_of_the_plain_ones_and_each_view_is_computed_once(train, tmp_path):
    module, _ = build_backbone("resnet10")
    prefix, _ = split_at_first_trainable(module.eval(), freeze_all_but_last(module, 2))
    cached, draws = CachedBatches(train, prefix, CPU, tmp_path / "state"), views(2)
    for epoch in range(5):
        pairs = zip(
            train.shuffled(epoch, 7, draws, RenderStyle()), cached.shuffled(epoch, 7, draws, RenderStyle()), strict=True
        )
        for plain, stored in pairs:
            with torch.inference_mode():
                torch.testing.assert_close(stored.inputs, prefix(plain.inputs), atol=1e-5, rtol=1e-4)
            assert torch.equal(plain.target, stored.target)
            assert torch.equal(plain.weight, stored.weight)
    assert (cached.computed, cached.asked) == (20, 50)
    assert sum(len(batch.inputs) for batch in cached.clean()) == 10
    assert list((tmp_path / "state").iterdir()) == []  # the cache's file has no name, so nothing is left behind


def test_what_would_not_fit_is_computed_in_each_epoch(train, capsys, tmp_path):
    module, _ = build_backbone("resnet10")
    prefix, _ = split_at_first_trainable(module.eval(), freeze_all_but_last(module, 2))
    one = prefix(torch.zeros(1, 3, 32, 32)).numel() * 4 / 2**30
    assert fits(prefix, train, train, CPU, tmp_path, 3, 40.01 * one)
    assert not fits(prefix, train, train, CPU, tmp_path, 3, 39.9 * one)
    assert not fits(prefix, train, train, CPU, tmp_path, 10**12, 1e12)  # more than the disk's capacity
    assert "over finetune.cache" in capsys.readouterr().out


def test_room_is_reserved_before_it_is_filled(tmp_path):
    kept = reserve(tmp_path, (3, 2, 2), torch.bfloat16)
    kept[1] = 1.5
    assert (kept.shape, kept.dtype, kept.sum().item()) == ((3, 2, 2), torch.bfloat16, 6)
    with pytest.raises(OSError, match=r"Errno (27|28)"):  # too large for the file system or for the free space
        reserve(tmp_path, (2**50,), torch.float32)


def test_balanced_sampling_draws_by_weight(train):
    drawn = Batches(train._squares, torch.arange(10) % 3, torch.eye(10)[3], PREPROCESSING, CPU, 4, drawn=True)
    assert set(drawn.order(0, 0)) == {3}
    assert len(drawn.order(0, 0)) == 10
    assert next(iter(drawn.clean())).weight is None
