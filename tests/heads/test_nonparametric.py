from __future__ import annotations

import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from tasks.heads.linear import best
from tasks.heads.nonparametric import fit_neighbors, fit_prototypes


def test_nearest_neighbors_are_the_same_as_in_scikit_learn():
    y = torch.arange(400) % 3
    x = torch.randn(400, 3) + 1.5 * torch.eye(3)[y]
    train, validation = (x[:200], y[:200]), (x[200:], y[200:])
    (probe,) = fit_neighbors((*train, torch.ones(200)), validation, 3, [1])
    theirs = KNeighborsClassifier(1, metric="cosine").fit(*(part.numpy() for part in train)).score(*validation)
    assert probe.score == pytest.approx(theirs)
    assert theirs > 0.6
    assert fit_neighbors((x[:3], y[:3], torch.ones(3)), validation, 3, [20])[0].head.neighbours == 3


def test_prototypes_are_class_means_on_the_sphere():
    x = torch.tensor([[1.0, 0.1], [2.0, -0.2], [0.1, 5.0], [0.0, 1.0]])
    y = torch.tensor([0, 0, 1, 1])
    probes = fit_prototypes((x, y, torch.ones(4)), (x, y), 2)
    assert best(probes).score == 1
    assert best(probes).setting == max(probe.setting for probe in probes)


def test_a_row_of_twice_the_weight_counts_as_two():
    x, y = torch.randn(12, 3), torch.arange(12) % 3
    twice = (torch.cat([x, x[:4]]), torch.cat([y, y[:4]]), torch.ones(16))
    weighted = (x, y, torch.tensor([2.0] * 4 + [1.0] * 8, dtype=torch.float64))
    asked = torch.randn(50, 3)
    for fitted in (fit_prototypes, lambda *rows: fit_neighbors(*rows, [99])):
        one, other = (fitted(rows, (x, y), 3)[-1].head(asked) for rows in (twice, weighted))
        if fitted is fit_prototypes:
            torch.testing.assert_close(one, other)
        else:  # the softmax is over rows, so a row counts twice only through its vote
            assert (one.argmax(1) == other.argmax(1)).all()
