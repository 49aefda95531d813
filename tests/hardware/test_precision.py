"""Which of two types a processor computes in is measured, and remembered."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tasks.hardware import device, precision
from tasks.hardware import machine_cache as remembered
from tasks.hardware.precision import device_for, measure, quicker
from tasks.scorer.architectures import build_backbone


@pytest.fixture
def memory(tmp_path, monkeypatch):
    """An empty memory, on a processor that has bfloat16."""
    monkeypatch.setattr(remembered, "user_cache_path", lambda _name: tmp_path)
    monkeypatch.setattr(device, "_fast_bfloat16", lambda _device: True)
    return tmp_path / "precision"


@pytest.fixture
def network():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [((1.0, 0.5), torch.bfloat16), ((1.0, 0.95), torch.float32), ((1.0, 2.0), torch.float32)],
)
def test_bfloat16_has_to_be_clearly_faster(memory, network, monkeypatch, seconds, chosen):
    monkeypatch.setattr(precision, "measure", lambda *_: seconds)
    assert device_for("cpu", "auto", network, 32).dtype == chosen


def test_it_is_measured_once_for_what_learns_and_each_size(memory, network, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(precision, "measure", lambda *what: asked.append(what) or (2.0, 1.0))
    for _ in range(2):
        assert quicker(network, 32) == torch.bfloat16
    assert len(asked) == 1
    assert capsys.readouterr().out.count("50% of float32's time") == 1
    quicker(network, 64)
    network.requires_grad_(False)
    quicker(network, 32)
    assert len(asked) == len(list(memory.iterdir())) == 3


def test_what_was_asked_for_is_not_measured(memory, network):
    assert device_for("cpu", "float32", network, 32).dtype == torch.float32
    assert device_for("cpu", "bfloat16", network, 32).dtype == torch.bfloat16
    assert not memory.exists()


def test_measuring_leaves_the_network_and_the_random_numbers_alone():
    module = build_backbone("resnet10")[0].train()
    threads = torch.get_num_threads()
    before, state = {name: value.clone() for name, value in module.state_dict().items()}, torch.random.get_rng_state()
    plain, short = measure(module, 32)
    assert 0 < plain < 60
    assert 0 < short < 60
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert module.training
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(parameter.grad is None for parameter in module.parameters())


def test_where_nothing_can_be_remembered_it_is_always_the_same_type(memory, network, monkeypatch, capsys):
    memory.write_text("in the way")
    for seconds in ((1.0, 2.0), (2.0, 1.0)):
        monkeypatch.setattr(precision, "measure", lambda *_, told=seconds: told)
        assert quicker(network, 32) == torch.bfloat16
    assert "cannot be written to" in capsys.readouterr().out


def test_of_two_that_measure_at_once_the_first_ones_word_counts(memory, network, monkeypatch):
    def second(*_):
        monkeypatch.setattr(precision, "measure", lambda *_: (2.0, 1.0))
        assert quicker(network, 32) == torch.bfloat16
        return 1.0, 2.0

    monkeypatch.setattr(precision, "measure", second)
    assert quicker(network, 32) == torch.bfloat16
    assert len(list(memory.iterdir())) == 1


def test_a_damaged_memory_is_measured_anew(memory, network, monkeypatch):
    monkeypatch.setattr(precision, "measure", lambda *_: (1.0, 2.0))
    quicker(network, 32)
    (file,) = memory.iterdir()
    for damaged in ("{", '{"plain": 1.0}', "[]"):
        file.write_text(damaged)
        assert quicker(network, 32) == torch.float32
        assert file.read_text() != damaged
        assert len(list(memory.iterdir())) == 1
