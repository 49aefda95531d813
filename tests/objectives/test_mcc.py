from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tasks.objectives.losses.mcc import confusion, mcc
from tasks.training.losses.cross_entropy import cross_entropy
from tests.objectives.examples import half_labeled, small


def test_mcc_is_lowest_for_confident_predictions_and_uses_the_target_only():
    sure, unsure = 30 * F.one_hot(torch.arange(6) % 3, 3).float(), torch.zeros(6, 3)
    assert confusion(sure) < 1e-3 < confusion(unsure)
    assert confusion(unsure).item() == pytest.approx(2 / 3)
    batch, network = half_labeled(), small()
    loss = mcc(cross_entropy(), 1.0)(network, batch).mean()
    logits = network(batch.inputs)
    torch.testing.assert_close(loss, F.cross_entropy(logits[:4], batch.target[:4]) + confusion(logits[4:]))
