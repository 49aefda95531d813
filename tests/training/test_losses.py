from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.training.losses.cross_entropy import cross_entropy
from tasks.training.losses.mixing import mixing
from tasks.training.losses.partial_truth import is_labeled, mask_labels, scatter_rows
from tasks.training.losses.squared_error import squared_error
from tasks.training.types import Batch


def seen(kept):
    """Returns a network that stores its inputs, and outputs their first three values."""

    def network(x):
        kept.append(x)
        return x.flatten(1)[:, :3]

    return network


def test_smoothing_and_adjusted_logits_are_the_formulas():
    logits, y = torch.randn(5, 3), torch.tensor([0, 1, 2, 1, 0])
    loss = cross_entropy(0.1)(lambda x: x, Batch(logits, y))
    truth = 0.9 * F.one_hot(y, 3) + 0.1 / 3
    torch.testing.assert_close(loss, -(truth * logits.log_softmax(1)).sum(1))
    prior = torch.tensor([0.5, 0.3, 0.2]).log()
    torch.testing.assert_close(
        cross_entropy(0.0, prior)(lambda x: x, Batch(logits, y)), F.cross_entropy(logits + prior, y, reduction="none")
    )


@pytest.mark.parametrize("seed", range(5))
def test_mixup_is_the_loss_for_the_mixed_truth(seed):
    x, y, kept = torch.randn(6, 3, 4, 4), torch.arange(6) % 3, []
    torch.manual_seed(seed)
    loss = mixing(cross_entropy(), 1.0, 0.0)(seen(kept), Batch(x, y))
    torch.manual_seed(seed)
    share = torch.distributions.Beta(torch.tensor(1.0), torch.tensor(1.0)).sample()
    other = torch.randperm(6)
    torch.testing.assert_close(kept[0], share * x + (1 - share) * x[other])
    truth = share * F.one_hot(y, 3) + (1 - share) * F.one_hot(y[other], 3)
    torch.testing.assert_close(loss.sum(), -(truth * kept[0].flatten(1)[:, :3].log_softmax(1)).sum())


def test_each_label_of_a_mixed_image_counts_by_the_weight_of_its_row():
    """The loss is 1 only for the first image's true class, which weighs 10, so the total is 10."""
    torch.manual_seed(0)
    mixed = mixing(lambda _network, batch: (batch.target == 0).float(), 1.0, 0.0)
    loss = mixed(lambda x: x, Batch(torch.randn(6, 3, 4, 4), torch.arange(6)))
    assert (loss * torch.tensor([10.0, 1, 1, 1, 1, 1])).sum().item() == pytest.approx(10)


@pytest.mark.parametrize("seed", range(8))
def test_cutmix_counts_each_truth_by_its_area(seed):
    """The loss is the first image's area times the number of the image it is pasted into, from the wrapped loss."""
    x = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 16, 16)
    kept = []

    def first(network, batch):
        network(batch.inputs)
        return (batch.target == 0).float() * torch.arange(1.0, 5)

    torch.manual_seed(seed)
    loss = mixing(first, 0.0, 1.0)(seen(kept), Batch(x, torch.arange(4)))
    kept_share = (kept[0] == 0).float().mean((1, 2, 3))
    assert loss.sum().item() == pytest.approx((kept_share * torch.arange(1.0, 5)).sum().item(), abs=1e-5)


def test_mixed_values_have_the_gradient_of_the_mixed_truth():
    x, y = torch.randn(6, 3, 4, 4), torch.randn(6, 3)
    gradients = []
    for mixed in (True, False):
        weight = torch.ones(3, requires_grad=True)
        torch.manual_seed(1)
        if mixed:
            loss = mixing(squared_error((1.0,) * 3), 1.0, 0.0)(lambda z, w=weight: z.flatten(1)[:, :3] * w, Batch(x, y))
        else:
            share = torch.distributions.Beta(torch.tensor(1.0), torch.tensor(1.0)).sample()
            other = torch.randperm(6)
            z, truth = share * x + (1 - share) * x[other], share * y + (1 - share) * y[other]
            loss = squared_error((1.0,) * 3)(lambda z, w=weight: z.flatten(1)[:, :3] * w, Batch(z, truth))
        loss.sum().backward()
        gradients.append(weight.grad)
    torch.testing.assert_close(*gradients)


def test_nothing_is_mixed_by_default():
    plain = cross_entropy()
    assert mixing(plain, 0.0, 0.0) is plain
    batch = Batch(torch.randn(4, 3, 8, 8), torch.arange(4) % 3)
    assert math.isfinite(mixing(plain, 0.2, 1.0)(lambda x: x.flatten(1)[:, :3], batch).sum())


@pytest.mark.parametrize("y", [torch.tensor([1, 0, 2]), torch.tensor([[1.0, 2.0], [0.0, 1.0]])])
def test_labeled_rows_are_separated_from_masked_ones(y):
    assert is_labeled(y).all()
    assert not is_labeled(mask_labels(y)).any()


@given(st.lists(st.booleans(), min_size=1, max_size=30))
@settings(max_examples=50)
def test_scattered_losses_keep_the_mean_of_the_labeled_rows(labeled):
    at = torch.tensor(labeled)
    loss = torch.rand(int(at.sum()))
    rows = scatter_rows(loss, at)
    assert len(rows) == len(labeled)
    assert rows.mean().item() == pytest.approx(loss.mean().item() if len(loss) else 0.0, abs=1e-6)
