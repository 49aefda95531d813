"""The data type on a CPU is measured once and cached."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tasks.hardware import device, machine_cache, precision
from tasks.hardware.precision import device_for, faster_type, measure
from tasks.scorer.architectures import build_backbone


@pytest.fixture
def cache_folder(tmp_path, monkeypatch):
    """Returns an empty cache; the processor is assumed to support bfloat16."""
    monkeypatch.setattr(machine_cache, "user_cache_path", lambda _name: tmp_path)
    monkeypatch.setattr(device, "_fast_bfloat16", lambda _device: True)
    return tmp_path / "precision"


@pytest.fixture
def network():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [((1.0, 0.5), torch.bfloat16), ((1.0, 0.95), torch.float32), ((1.0, 2.0), torch.float32)],
)
def test_bfloat16_has_to_be_clearly_faster(cache_folder, network, monkeypatch, seconds, chosen):
    monkeypatch.setattr(precision, "measure", lambda *_: seconds)
    assert device_for("cpu", "auto", network, 32).dtype == chosen


def test_the_speed_is_measured_once_per_size_and_trainable_parameters(cache_folder, network, monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(precision, "measure", lambda *arguments: calls.append(arguments) or (2.0, 1.0))
    for _ in range(2):
        assert faster_type(network, 32) == torch.bfloat16
    assert len(calls) == 1
    assert capsys.readouterr().out.count("50% of float32's time") == 1
    faster_type(network, 64)
    network.requires_grad_(False)
    faster_type(network, 32)
    assert len(calls) == len(list(cache_folder.iterdir())) == 3


def test_an_explicit_type_is_not_measured(cache_folder, network):
    assert device_for("cpu", "float32", network, 32).dtype == torch.float32
    assert device_for("cpu", "bfloat16", network, 32).dtype == torch.bfloat16
    assert not cache_folder.exists()


def test_measuring_leaves_the_network_and_the_random_numbers_alone():
    module = build_backbone("resnet10")[0].train()
    threads = torch.get_num_threads()
    before, state = {name: value.clone() for name, value in module.state_dict().items()}, torch.random.get_rng_state()
    float32, bfloat16 = measure(module, 32)
    assert 0 < float32 < 60
    assert 0 < bfloat16 < 60
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert module.training
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(parameter.grad is None for parameter in module.parameters())


def test_without_a_writable_cache_the_type_is_always_the_same(cache_folder, network, monkeypatch, capsys):
    cache_folder.write_text("in the way")
    for seconds in ((1.0, 2.0), (2.0, 1.0)):
        monkeypatch.setattr(precision, "measure", lambda *_, measured=seconds: measured)
        assert faster_type(network, 32) == torch.bfloat16
    assert "cannot be written to" in capsys.readouterr().out


def test_of_two_simultaneous_measurements_the_first_wins(cache_folder, network, monkeypatch):
    def second(*_):
        monkeypatch.setattr(precision, "measure", lambda *_: (2.0, 1.0))
        assert faster_type(network, 32) == torch.bfloat16
        return 1.0, 2.0

    monkeypatch.setattr(precision, "measure", second)
    assert faster_type(network, 32) == torch.bfloat16
    assert len(list(cache_folder.iterdir())) == 1


def test_a_damaged_cache_is_measured_again(cache_folder, network, monkeypatch):
    monkeypatch.setattr(precision, "measure", lambda *_: (1.0, 2.0))
    faster_type(network, 32)
    (file,) = cache_folder.iterdir()
    for damaged in ("{", '{"plain": 1.0}', "[]"):
        file.write_text(damaged)
        assert faster_type(network, 32) == torch.float32
        assert file.read_text() != damaged
        assert len(list(cache_folder.iterdir())) == 1
