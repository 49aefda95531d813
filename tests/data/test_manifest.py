from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tasks.core.errors import DataRefusedError
from tasks.core.schema import TARGET, Column
from tasks.data.manifest import target_spec
from tests.errors import raises


def test_targets_with_a_spread_below_float_precision_are_refused():
    """Unix times differ by minutes, but float32 resolves only two minutes."""
    rows = pd.DataFrame({Column.SPLIT: "train", f"{TARGET}at": 1.6e9 + np.arange(100.0)})
    with raises(DataRefusedError, "data.targets") as caught:
        target_spec(rows)
    assert str(caught.value).startswith("data.targets: at: ")
    assert "subtract a constant" in str(caught.value)
    assert target_spec(rows.assign(**{f"{TARGET}at": np.arange(100.0)})).targets == ("at",)


@pytest.mark.parametrize("value", [0.0, 0.1, 5.0])
def test_a_target_that_is_always_the_same_is_refused(value):
    rows = pd.DataFrame({Column.SPLIT: "train", f"{TARGET}at": np.full(100, value)})
    with raises(DataRefusedError, "data.targets") as caught:
        target_spec(rows)
    assert str(caught.value).startswith("data.targets: at: ")
    assert "leave it out" in str(caught.value)
