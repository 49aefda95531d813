from __future__ import annotations

import pandas as pd

from tasks.evaluation.candidates import sample_rows


def test_some_rows_are_as_many_as_wanted_and_of_all_kinds():
    rows = pd.DataFrame({"eye": ["left", "right"] * 200})
    assert [len(sample_rows(rows, most)) for most in (0, 1, 200, 399, 400, 1000)] == [0, 1, 200, 399, 400, 400]
    assert 70 < (sample_rows(rows, 200)["eye"] == "left").sum() < 130
    assert list(sample_rows(rows, 200).index) == sorted(sample_rows(rows, 200).index)
