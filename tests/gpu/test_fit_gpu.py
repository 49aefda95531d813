"""A fit on a CUDA device that was killed ends as an undisturbed one."""

from __future__ import annotations

import pytest
import torch

from tasks.parts.device import choose
from tasks.parts.names import Curve
from tests.parts.test_fit import Killed, trained

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
