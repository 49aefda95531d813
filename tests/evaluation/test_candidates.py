from __future__ import annotations

import pandas as pd

from tasks.evaluation.candidates import sample_rows


def test_a_sample_has_the_requested_size_and_rows_of_all_kinds():
    rows = pd.DataFrame({"eye": ["left", "right"] * 200})
    assert [len(sample_rows(rows, count)) for count in (0, 1, 200, 399, 400, 1000)] == [0, 1, 200, 399, 400, 400]
    assert 70 < (sample_rows(rows, 200)["eye"] == "left").sum() < 130
    assert list(sample_rows(rows, 200).index) == sorted(sample_rows(rows, 200).index)
