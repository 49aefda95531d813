from __future__ import annotations

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.schema import Column
from tasks.data.counts import Counts, count_images


def test_images_are_counted_by_split_without_those_in_quarantine(tmp_path):
    rows = {
        Column.SPLIT: ["train", "train", "train", "validation", "unlabelled", "unlabelled", None],
        Column.QUARANTINE: [None, None, "damaged", None, None, "damaged", "damaged"],
    }
    pd.DataFrame(rows).astype("string").to_parquet(tmp_path / "manifest.parquet")
    assert count_images(tmp_path / "manifest.parquet") == Counts(images=7, train=2, validation=1, test=0)


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 10**7))
def test_shares_stay_and_the_same_number_of_images_is_unchanged(train, validation, test, images):
    counts = Counts(max(train + validation + test, 1), train, validation, test)
    assert counts.scaled_to(counts.images) == counts
    scaled = counts.scaled_to(images)
    assert scaled.images == images
    assert abs(scaled.train - train * images / counts.images) < 1.001
    assert scaled.labeled <= images + 3
