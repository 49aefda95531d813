from __future__ import annotations

import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge
from sklearn.preprocessing import StandardScaler

from tasks.heads.cross_validation import PENALTY, kernel_of, scores_of


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
