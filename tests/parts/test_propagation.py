"""Labels that spread over nearest neighbours: against the closed form, and on what a linear head cannot tell."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import make_moons

from tasks.parts.propagation import ALPHA, graph, spread


@given(st.integers(4, 30), st.integers(1, 8), st.integers(0, 2**31 - 1))
@settings(max_examples=40, deadline=None)
def test_it_is_the_closed_form_of_local_and_global_consistency(rows, neighbours, seed):
    x = np.random.default_rng(seed).normal(size=(rows, 3))
    label = np.full(rows, -1)
    label[:2] = [0, 1]
    weights = graph(x, neighbours).toarray()
    assert np.allclose(weights, weights.T)
    assert (weights >= 0).all()
    assert not weights.diagonal().any()
    own = (label[:, None] == np.arange(2)).astype(float)
    exact = np.linalg.solve(np.eye(rows) - ALPHA * weights, own).clip(0) + 1e-15
    exact *= own.mean(0) / exact.sum(0)
    found = spread(x, label, 2, neighbours)
    assert np.allclose(found.sum(1), 1)
    reached = exact.max(1) > 1e-4 * exact.max()
    assert np.abs(found - exact / exact.sum(1, keepdims=True))[reached].max() < 1e-3


def test_labels_follow_the_shape_of_the_data():
    """Two interleaved half circles, on a sphere since the graph is of angles; one label each."""
    flat, truth = make_moons(400, noise=0.05, random_state=0)
    x = np.c_[flat, np.full(400, 2.0)]
    label = np.full(400, -1)
    for of_class in (0, 1):
        label[np.flatnonzero(truth == of_class)[0]] = of_class
    assert (spread(x, label, 2, 10).argmax(1) == truth).mean() > 0.95


def test_an_image_that_no_label_reaches_is_of_no_class_in_particular():
    x = np.array([[1.0, 0, 0], [0.9, 0.1, 0], [0, 1.0, 0], [0.1, 0.9, 0], [0, 0, 1.0], [0, 0.0, 0.9]])
    found = spread(x, np.array([0, -1, 1, -1, -1, -1]), 2, 1)
    assert found[:4].argmax(1).tolist() == [0, 0, 1, 1]
    assert found[4:] == pytest.approx(0.5)


def test_classes_come_as_often_as_among_the_labels():
    """Three labels of one class, one of the other: so do their shares in the answers."""
    x = np.random.default_rng(0).normal(size=(300, 4))
    label = np.full(300, -1)
    label[:4] = [0, 0, 0, 1]
    share = spread(x, label, 2, 5).mean(0)
    assert 0.6 < share[0] < 0.9
