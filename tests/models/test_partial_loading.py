from __future__ import annotations

import pytest
import torch
from torch import nn

from tasks.core.errors import ParamsError, RootstockError
from tasks.heads.choose import EarlierModel, head_of
from tasks.models.freezing import freeze_all_but_last, learn_mode, set_dropout
from tasks.models.partial_loading import load_matching
from tasks.scorer.architectures import build_backbone
from tasks.scorer.network import Network
from tests.errors import raises


def test_a_smaller_network_starts_from_the_weights_of_a_bigger_one():
    bigger = build_backbone("resnet18")[0].state_dict()
    state, report = load_matching("resnet10", bigger)
    smaller = build_backbone("resnet10")[0]
    smaller.load_state_dict(state)
    assert all(torch.equal(state[name], bigger[name]) for name in state)
    assert "parameters taken by name and shape" in report
    assert "at random" not in report


def test_parameters_that_do_not_match_are_reported_and_initialized_deterministically():
    other = {name: t for name, t in build_backbone("resnet10")[0].state_dict().items() if "layer4" not in name}
    other["conv1.weight"] = torch.zeros(64, 3, 3, 3)
    state, report = load_matching("resnet10", other)
    assert torch.equal(state["layer2.0.conv1.weight"], other["layer2.0.conv1.weight"])
    assert "at random: conv1.weight, layer4.0.conv1.weight" in report
    assert all(torch.equal(tensor, state[name]) for name, tensor in load_matching("resnet10", other)[0].items())
    with raises(RootstockError, "backbone.match"):
        load_matching("vgg11", other)


def test_an_earlier_head_keeps_the_rows_of_its_classes():
    state = {"head.weight": torch.randn(3, 4), "head.bias": torch.randn(3)}
    earlier = EarlierModel(state, {"classes": ["ant", "bee", "fly"]})
    head = head_of(earlier, ["bee", "cat", "fly"], 4)
    assert torch.equal(head.weight, torch.stack([state["head.weight"][1], torch.zeros(4), state["head.weight"][2]]))
    assert torch.equal(head.bias, torch.stack([state["head.bias"][1], torch.zeros(()), state["head.bias"][2]]))
    with raises(ParamsError, "head.start"):
        head_of(EarlierModel({}, {}), ["bee"], 4)
    with raises(ParamsError, "head.start"):
        head_of(earlier, ["bee"], 5)


def test_dropout_and_stochastic_depth_are_set_where_they_exist():
    module, width = build_backbone("efficientnet_b0")
    set_dropout(module, 0.4, 0.2)
    depths = [layer.p for name, layer in module.named_modules() if type(layer).__name__ == "StochasticDepth"]
    assert depths == sorted(depths)
    assert depths[-1] == pytest.approx(0.2)
    network = Network(module, nn.Linear(width, 2))
    learn_mode(network, freeze_all_but_last(module, 1), batch_statistics=False, dropout=True)
    (dropout,) = (layer for layer in module.modules() if isinstance(layer, nn.Dropout))
    assert (dropout.p, dropout.training) == (0.4, True)
    learn_mode(network, freeze_all_but_last(module, 1), batch_statistics=False)
    assert not dropout.training
    with raises(ParamsError, "finetune.stochastic_depth"):
        set_dropout(build_backbone("resnet10")[0], None, 0.1)
