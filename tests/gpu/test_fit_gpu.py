"""A killed fit on a CUDA device ends like an undisturbed one."""

from __future__ import annotations

import pytest
import torch

from tasks.core.schema import Curve
from tasks.hardware.device import choose
from tasks.hardware.microbatches import MicroBatches
from tasks.scorer.network import build_network
from tasks.training.compiled import compiled_fit
from tasks.training.loop import Fit, step
from tasks.training.losses.cross_entropy import cross_entropy
from tasks.training.types import Batch
from tests.training.small_fit import SCHEDULE, Killed, trained

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


@pytest.mark.parametrize("last", [1, 3])
def test_a_killed_fit_ends_with_the_same_weights_within_a_tolerance(tmp_path, last):
    device = choose("cuda", "float32")

    def die(row):
        if row[Curve.EPOCH] == last:
            raise Killed

    undisturbed, _ = trained(tmp_path / "a.safetensors", device=device)
    with pytest.raises(Killed):
        trained(tmp_path / "b.safetensors", on_row=die, device=device)
    resumed, _ = trained(tmp_path / "b.safetensors", device=device)
    for name, tensor in undisturbed.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], tensor, atol=1e-4, rtol=1e-3)


def test_a_compiled_network_learns_the_same_within_a_tolerance():
    device, losses = choose("cuda", "float32"), []
    x_N3SS, y_N = device.place(torch.rand(8, 3, 64, 64)), torch.arange(8, device=device.device) % 3
    for enabled in (False, True):
        torch.manual_seed(0)
        network = build_network("resnet8", 3)
        device.place(network)
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
        run = Fit(network, cross_entropy(), SCHEDULE, device)
        with compiled_fit(network.backbone, enabled=enabled):
            batch = Batch(x_N3SS, y_N)
            losses.append([step(run, batch, optimizer, MicroBatches()) for _ in range(5)])
    torch.testing.assert_close(*map(torch.tensor, losses), rtol=1e-2, atol=1e-3)
    assert losses[1][-1] < losses[1][0]
