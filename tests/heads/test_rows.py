"""Heads that read rows of a matrix in parts, block by block, are the same as with all rows in memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tasks.heads.linear import fit_probes, fit_ridge
from tasks.heads.nonlinear import Dense, fit_dense
from tasks.heads.nonparametric import fit_neighbors, fit_prototypes
from tasks.heads.rows import BLOCK, FeatureRows

CLASSES = 3
DENSE = Dense(widths=[4, 8], l2_penalties=[0.1], lr=0.01, epochs=2, batch=64, seed=0)
FITS = {
    "linear": lambda train, validation: fit_probes(train, validation, CLASSES, [1e-3]),
    "ridge": lambda train, validation: fit_ridge(with_values(train), with_values(validation), [1e-3]),
    "dense": lambda train, validation: fit_dense(train, validation, CLASSES, DENSE),
    "prototype": lambda train, validation: fit_prototypes(train, validation, CLASSES),
    "knn": lambda train, validation: fit_neighbors(train, validation, CLASSES, [5]),
}


class Counted(FeatureRows):
    """Rows that remember how many of them were read at once."""

    largest = 0

    def __getitem__(self, where):
        x_BD = super().__getitem__(where)
        self.largest = max(self.largest, len(x_BD))
        return x_BD


def with_values(rows):
    """Returns rows with values to predict in the place of their classes."""
    x, y, *weight = rows
    return (x, torch.nn.functional.one_hot(y, CLASSES).double(), *weight)


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
def test_a_head_of_rows_in_parts_is_that_of_rows_in_memory_and_reads_a_block_at_once(fit):
    count = 2 * BLOCK + 100
    y = torch.arange(2 * count) % CLASSES
    matrix = torch.randn(2 * count, 5) + torch.eye(5)[y]
    order = np.random.default_rng(0).permutation(2 * count)
    parts = list(matrix.split(1000))
    weight = torch.rand(count, dtype=torch.float64) + 0.5
    in_parts = [Counted(parts, order[:count]), Counted(parts, order[count:])]
    in_memory = [matrix[order[:count]], matrix[order[count:]]]
    heads = [
        fit((train, y[order[:count]], weight), (validation, y[order[count:]]))[0]
        for train, validation in (in_parts, in_memory)
    ]
    assert heads[0].loss == heads[1].loss
    for name, tensor in heads[0].head.state_dict().items():
        assert torch.equal(tensor, heads[1].head.state_dict()[name])
    assert [rows.largest for rows in in_parts] == [BLOCK, BLOCK]
