from __future__ import annotations

import pandas as pd

from tasks.evaluation.candidates import some


def test_some_rows_are_as_many_as_wanted_and_of_all_kinds():
    rows = pd.DataFrame({"eye": ["left", "right"] * 200})
    assert [len(some(rows, most)) for most in (0, 1, 200, 399, 400, 1000)] == [0, 1, 200, 399, 400, 400]
    assert 70 < (some(rows, 200)["eye"] == "left").sum() < 130
    assert list(some(rows, 200).index) == sorted(some(rows, 200).index)
