"""How a batch is split into micro-batches."""

from __future__ import annotations

import pytest
import torch

from tasks.hardware.microbatches import MicroBatches
from tasks.training.types import Batch


@pytest.mark.parametrize("count", [1, 3, 99])
def test_micro_batches_keep_the_named_fields_and_what_is_none(count):
    batch = Batch(torch.randn(10, 2), torch.arange(10), teacher=torch.randn(10, 4))
    parts = MicroBatches(count).of(batch)
    assert len(parts) == min(count, 10)
    assert all(isinstance(part, Batch) and part.weight is None for part in parts)
    for name in ("inputs", "target", "teacher"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(batch, name))


def test_the_attempt_gets_named_micro_batches_again_after_out_of_memory(capsys):
    sizes = []

    def attempt(parts):
        sizes.append([len(part.inputs) for part in parts])
        if len(parts) < 4:
            raise torch.OutOfMemoryError("no more")
        return sum(int(part.target.sum()) for part in parts)

    micro = MicroBatches()
    assert micro.run_with_retry(attempt, Batch(torch.zeros(6, 1), torch.arange(6), torch.ones(6))) == 15
    assert sizes == [[6], [3, 3], [2, 2, 1, 1]]
    assert micro.count == 4
    assert "computed in 4 parts" in capsys.readouterr().out


def test_plain_tuples_stay_plain():
    parts = MicroBatches(2).of((torch.arange(4), None))
    assert [(type(part), part[0].tolist(), part[1]) for part in parts] == [
        (tuple, [0, 1], None),
        (tuple, [2, 3], None),
    ]
