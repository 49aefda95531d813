"""Labels that spread over nearest neighbors: compared with the closed form, and on classes not linearly separable."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import make_moons

from tasks.core.errors import RootstockError
from tasks.objectives.label_propagation import ALPHA, graph, propagate
from tasks.objectives.nearest import SEARCHES
from tests.errors import raises


def test_edges_are_weighed_by_the_cube_of_the_cosine_whatever_the_length():
    """Three directions at 0, 20 and 60 degrees; with one neighbor each, the second is nearest to both others."""
    angle = np.radians([0, 20, 60])
    x = np.c_[np.cos(angle), np.sin(angle)] * np.array([[1.0], [3.0], [0.5]])
    all_of_them = [[0, 0.750795, 0.168773], [0.750795, 0, 0.524346], [0.168773, 0.524346, 0]]
    assert graph(x, 2).toarray() == pytest.approx(np.array(all_of_them), abs=1e-6)
    assert graph(x, 9).toarray() == pytest.approx(graph(x, 2).toarray())
    nearest = graph(x, 1).toarray()
    assert nearest[0, 2] == 0
    assert nearest[0, 1] > nearest[1, 2] > 0


@given(st.integers(4, 30), st.integers(1, 8), st.integers(0, 2**31 - 1))
@settings(max_examples=40)
def test_it_is_the_closed_form_of_local_and_global_consistency(rows, neighbors, seed):
    x = np.random.default_rng(seed).normal(size=(rows, 3))
    label = np.full(rows, -1)
    label[:2] = [0, 1]
    weights = graph(x, neighbors).toarray()
    assert np.allclose(weights, weights.T)
    assert (weights >= 0).all()
    assert not weights.diagonal().any()
    one_hot = (label[:, None] == np.arange(2)).astype(float)
    exact = np.linalg.solve(np.eye(rows) - ALPHA * weights, one_hot).clip(0) + 1e-15
    exact *= one_hot.mean(0) / exact.sum(0)
    result = propagate(x, label, 2, neighbors)
    assert np.allclose(result.sum(1), 1)
    reached = exact.max(1) > 1e-4 * exact.max()
    assert np.abs(result - exact / exact.sum(1, keepdims=True))[reached].max() < 1e-3


def test_labels_follow_the_shape_of_the_data():
    """Two interleaved half circles with one label each, on a sphere since the graph is built from angles."""
    flat, truth = make_moons(400, noise=0.05, random_state=0)
    x = np.c_[flat, np.full(400, 2.0)]
    label = np.full(400, -1)
    for of_class in (0, 1):
        label[np.flatnonzero(truth == of_class)[0]] = of_class
    assert (propagate(x, label, 2, 10).argmax(1) == truth).mean() > 0.95


def test_an_image_that_no_label_reaches_is_of_no_class_in_particular():
    x = np.array([[1.0, 0, 0], [0.9, 0.1, 0], [0, 1.0, 0], [0.1, 0.9, 0], [0, 0, 1.0], [0, 0.0, 0.9]])
    result = propagate(x, np.array([0, -1, 1, -1, -1, -1]), 2, 1)
    assert result[:4].argmax(1).tolist() == [0, 0, 1, 1]
    assert result[4:] == pytest.approx(0.5)


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_an_error(value, search):
    x = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    x[7, 1] = value
    with raises(RootstockError, "features-not-finite"):
        propagate(x, np.zeros(20, int), 2, 5, search)
