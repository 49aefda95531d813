from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from sklearn.neighbors import KNeighborsClassifier

from tasks.heads import nonparametric
from tasks.heads.linear import best
from tasks.heads.nonparametric import fit_neighbors, fit_prototypes
from tasks.heads.rows import BLOCK
from tasks.scorer.heads import Neighbors
from tasks.training.measures import measure_classes


def test_nearest_neighbors_are_the_same_as_in_scikit_learn():
    y = torch.arange(400) % 3
    x = torch.randn(400, 3) + 1.5 * torch.eye(3)[y]
    train, validation = (x[:200], y[:200]), (x[200:], y[200:])
    (probe,) = fit_neighbors((*train, torch.ones(200)), validation, 3, [1])
    theirs = KNeighborsClassifier(1, metric="cosine").fit(*(part.numpy() for part in train)).score(*validation)
    assert probe.score == pytest.approx(theirs)
    assert theirs > 0.6
    assert fit_neighbors((x[:3], y[:3], torch.ones(3)), validation, 3, [20])[0].head.neighbours == 3


def drawn(rows):
    y = torch.arange(rows) % 3
    return torch.randn(rows, 5) + torch.eye(5)[y], y


def all_at_once(train, validation, count):
    """Returns the tensors and the loss of a head into which all rows are copied, scored on all validation rows."""
    x, y, weight = train
    head = Neighbors(5, 3, len(x), min(count, len(x)))
    votes = F.one_hot(y, 3) * (weight / weight.mean()).float().unsqueeze(1)
    head.load_state_dict({"keys_RD": F.normalize(x, dim=1), "votes_RC": votes})
    return head.state_dict(), measure_classes(head(validation[0]).double(), validation[1])[0]


@pytest.mark.parametrize("rows", [12, 2 * BLOCK + 100])
def test_neighbors_of_rows_by_blocks_are_to_the_bit_those_of_all_rows_at_once(rows):
    train, validation = (*drawn(rows), torch.rand(rows, dtype=torch.float64) + 0.5), drawn(BLOCK)
    for probe in fit_neighbors(train, validation, 3, [1, 5, 99]):
        state, loss = all_at_once(train, validation, int(probe.setting))
        assert probe.loss == loss
        assert probe.head.state_dict().keys() == state.keys()
        for name, tensor in probe.head.state_dict().items():
            assert tensor.dtype == state[name].dtype
            assert torch.equal(tensor, state[name])


def test_heads_for_several_numbers_of_neighbors_share_one_copy_of_the_rows():
    x, y = drawn(50)
    probes = fit_neighbors((x, y, torch.ones(50)), (x, y), 3, [1, 5, 20])
    for name in ("keys_RD", "votes_RC"):
        assert len({probe.head.state_dict()[name].data_ptr() for probe in probes}) == 1


def test_fewer_validation_rows_are_scored_at_a_time_if_there_are_many_training_rows(monkeypatch):
    (x, y), validation = drawn(300), drawn(1000)
    train, forward, sizes = (x, y, torch.ones(300)), Neighbors.forward, []
    (whole,) = fit_neighbors(train, validation, 3, [5])
    monkeypatch.setattr(Neighbors, "forward", lambda head, rows: sizes.append(len(rows)) or forward(head, rows))
    monkeypatch.setattr(nonparametric, "NUMBERS", 100 * (300 + 5 * 3))
    (by_blocks,) = fit_neighbors(train, validation, 3, [5])
    assert sizes == [100] * 10
    assert (by_blocks.loss, by_blocks.score) == (pytest.approx(whole.loss), whole.score)
    monkeypatch.setattr(nonparametric, "NUMBERS", 1)
    assert fit_neighbors(train, (x[:7], y[:7]), 3, [5])[0].loss > 0
    assert sizes[10:] == [1] * 7


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
