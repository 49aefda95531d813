from __future__ import annotations

import numpy as np
import pytest
import torch


@pytest.fixture
def scored():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 300)
    logits = rng.normal(size=(300, 4)) + 1.5 * np.eye(4)[y]
    return torch.tensor(logits).softmax(1).numpy(), y, torch.tensor(logits)
