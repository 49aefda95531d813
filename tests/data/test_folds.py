from __future__ import annotations

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.core.schema import Column
from tasks.data.folds import FOLDS, MIN_GROUPS, choosing_half, folds_by_group


def rows(labels, groups):
    table = pd.DataFrame({Column.LABEL: labels, Column.GROUP: [str(group) for group in groups]})
    return table.assign(**{Column.PIXEL_HASH: [f"{number:04d}" for number in range(len(table))]})


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 30)), min_size=1, max_size=80), st.randoms())
def test_groups_stay_together_whatever_the_order_of_the_rows(pairs, random):
    table = rows(*zip(*pairs, strict=True))
    fold = pd.Series(folds_by_group(table))
    assert (fold.groupby(table[Column.GROUP]).nunique() == 1).all()
    assert fold.between(0, FOLDS - 1).all()
    order = random.sample(range(len(table)), len(table))
    assert list(folds_by_group(table.iloc[order])) == list(fold[order])


@settings(max_examples=25)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=4))
def test_every_label_is_spread_over_the_folds(counts):
    labels = [name for name, count in zip("abcd", counts, strict=False) for _ in range(count)]
    table = rows(labels, range(len(labels)))
    sizes = pd.crosstab(table[Column.LABEL], folds_by_group(table)).reindex(columns=range(FOLDS), fill_value=0)
    assert sizes.sum(axis=1).tolist() == counts
    assert (sizes.max(axis=1) - sizes.min(axis=1) <= 1).all()


def test_validation_is_halved_by_groups_if_there_are_enough():
    groups = [number // 3 for number in range(3 * MIN_GROUPS)]
    table = rows(["ab"[group % 2] for group in groups], groups)
    half_N = choosing_half(table)
    assert half_N is not None
    assert half_N.mean() == 0.5
    assert pd.crosstab(half_N, table[Column.LABEL]).nunique().tolist() == [1, 1], "labels are spread"
    assert not set(table[half_N][Column.GROUP]) & set(table[~half_N][Column.GROUP])
    assert choosing_half(table.iloc[3:]) is None
