from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.kernel_ridge import KernelRidge
from sklearn.preprocessing import StandardScaler

from tasks.core.schema import Column
from tasks.heads.cross_validation import FOLDS, PENALTY, folds_by_group, kernel_of, scores_of


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


@pytest.mark.parametrize("shape", [(60, 5), (30, 80)])
def test_it_is_the_ridge_regression_that_scikit_learn_finds(shape):
    rng = np.random.default_rng(0)
    x_ND, has_NC = rng.normal(size=shape) * 3 + 1, np.eye(3)[np.arange(shape[0]) % 3]
    train, held = np.arange(0, shape[0], 2), np.arange(1, shape[0], 2)
    z_ND = StandardScaler().fit_transform(x_ND) / np.sqrt(shape[1])
    theirs = KernelRidge(alpha=PENALTY).fit(z_ND[train], has_NC[train] - has_NC[train].mean(0))
    expected = theirs.predict(z_ND[held]) + has_NC[train].mean(0)
    np.testing.assert_allclose(scores_of(kernel_of(x_ND), has_NC, train, held), expected, atol=1e-10)


def test_a_constant_feature_is_harmless():
    x_ND = np.column_stack([np.arange(10.0), np.ones(10)])
    assert np.isfinite(kernel_of(x_ND)).all()
