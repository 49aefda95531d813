from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tasks.core.errors import DataRefusedError
from tasks.core.schema import TARGET, Column
from tasks.data.manifest import target_spec


def test_targets_whose_spread_is_lost_beside_their_mean_are_refused():
    """Unix times that differ by minutes: float32 tells them apart by two minutes."""
    rows = pd.DataFrame({Column.SPLIT: "train", f"{TARGET}at": 1.6e9 + np.arange(100.0)})
    with pytest.raises(DataRefusedError, match=r"at: the numbers differ by less .* subtract a constant"):
        target_spec(rows)
    assert target_spec(rows.assign(**{f"{TARGET}at": np.arange(100.0)})).targets == ("at",)


@pytest.mark.parametrize("value", [0.0, 0.1, 5.0])
def test_a_target_that_is_always_the_same_is_refused(value):
    rows = pd.DataFrame({Column.SPLIT: "train", f"{TARGET}at": np.full(100, value)})
    with pytest.raises(DataRefusedError, match="at: all training images have the same number; leave it out"):
        target_spec(rows)
