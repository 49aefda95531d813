from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from tasks.core.errors import RootstockError
from tasks.core.schema import Curve
from tasks.hardware.device import choose
from tasks.hardware.microbatches import MicroBatches
from tasks.scorer.network import build_network
from tasks.training.callbacks import Callback
from tasks.training.loop import Fit, Schedule, score, step
from tasks.training.losses.cross_entropy import cross_entropy
from tasks.training.types import Batch
from tests.errors import raises
from tests.training.small_fit import CPU, SCHEDULE, batches, trained


def fit_of(network, loss=None, schedule=SCHEDULE):
    return Fit(network, loss or cross_entropy(), schedule, CPU)


def test_the_best_epoch_is_kept_even_if_it_is_the_initial_network(tmp_path):
    """With an absurd rate, no epoch improves on the initial network."""
    torch.manual_seed(0)
    network, progress = trained(tmp_path / "a.safetensors", rate=3.0)
    losses = [row[Curve.VALIDATION_LOSS] for row in progress.rows]
    assert min(losses) == losses[0]
    assert score(network, batches(99), choose("cpu", "float32"))[0] == pytest.approx(losses[0], rel=1e-5)


class OnlyTheStart(Callback):
    def may_be_best(self, rows):
        return len(rows) == 1


def test_an_epoch_that_may_not_be_the_best_is_never_kept(tmp_path):
    _, free = trained(tmp_path / "a.safetensors")
    _, progress = trained(tmp_path / "b.safetensors", callbacks=[OnlyTheStart()])
    assert free.kept > 0 == progress.kept
    assert progress.lowest == progress.rows[0][Curve.VALIDATION_LOSS]


class AfterTwoEpochs(Callback):
    def should_stop(self, rows):
        return len(rows) == 3


def test_an_epoch_that_ends_the_fit_is_kept_and_the_last(tmp_path):
    _, progress = trained(tmp_path / "a.safetensors", rate=3.0, callbacks=[AfterTwoEpochs()])
    assert (progress.epoch, progress.kept) == (2, 2)


def test_a_fit_stops_when_patience_ends(tmp_path):
    _, progress = trained(tmp_path / "a.safetensors", Schedule(50, 3, 0, 0, 2, 0), rate=3.0)
    losses = [row[Curve.VALIDATION_LOSS] for row in progress.rows]
    assert progress.epoch == losses.index(min(losses)) + 2 < 50


def test_a_loss_that_is_not_finite_names_the_step(tmp_path):
    def poisoned(epoch):
        for number, batch in enumerate(batches(epoch)):
            yield batch._replace(inputs=batch.inputs * math.nan) if (epoch, number) == (1, 1) else batch

    with raises(RootstockError, "loss-not-finite") as caught:
        trained(tmp_path / "a.safetensors", train=poisoned)
    assert "at step 5" in str(caught.value)


def test_blocks_that_are_not_unfrozen_yet_do_not_move(tmp_path):
    """Two blocks are trained, the second from the third epoch on: after two epochs it is unchanged."""
    torch.manual_seed(0)
    start = build_network("resnet10", 3).state_dict()
    network, _ = trained(tmp_path / "a.safetensors", replace(SCHEDULE, epochs=2), every=2)
    later = {name for name, value in network.state_dict().items() if name.startswith("backbone.layer3")}
    assert all(torch.equal(network.state_dict()[name], start[name]) for name in later)
    network, progress = trained(tmp_path / "b.safetensors", replace(SCHEDULE, patience=99), every=2)
    best = min(progress.rows, key=lambda row: row[Curve.VALIDATION_LOSS])
    moved = any(not torch.equal(network.state_dict()[name], start[name]) for name in later)
    assert moved == (best[Curve.EPOCH] > 2)


@pytest.mark.parametrize("parts", [2, 3, 8, 99])
def test_a_batch_in_parts_has_the_gradient_of_the_whole(parts):
    x, y = torch.randn(8, 3, 32, 32), torch.arange(8) % 3
    gradients = []
    for count in (1, parts):
        torch.manual_seed(0)
        network = build_network("resnet10", 3).eval()
        batch, optimizer = Batch(x, y, torch.arange(8.0)), torch.optim.SGD(network.parameters(), 0)
        step(fit_of(network), batch, optimizer, MicroBatches(count))
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters()]))
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-4)


def test_out_of_memory_halves_the_batch_with_a_message(capsys):
    """One loss runs out of memory above three rows, another with any number of rows."""

    def greedy(most):
        def loss(network, batch):
            if len(batch.inputs) > most:
                raise torch.OutOfMemoryError("no more")
            return cross_entropy()(network, batch)

        return loss

    network, micro = build_network("resnet10", 3), MicroBatches()
    batch, optimizer = next(iter(batches(0))), torch.optim.SGD(network.parameters(), 0.1)
    assert math.isfinite(step(fit_of(network, greedy(3)), batch, optimizer, micro))
    assert micro.count == 4
    assert "batches are computed in 4 parts" in capsys.readouterr().out
    with raises(RootstockError, "out-of-memory"):
        step(fit_of(network, greedy(0)), batch, optimizer, micro)


def test_gradients_are_clipped():
    network = torch.nn.Linear(2, 2)
    before = network.weight.detach().clone()
    optimizer = torch.optim.SGD([{"params": list(network.parameters())}], 1.0)
    batch = Batch(torch.full((1, 2), 1e6), torch.tensor([0]))
    step(fit_of(network, squared, replace(SCHEDULE, max_grad_norm=0.5)), batch, optimizer, MicroBatches())
    moved = torch.cat([(network.weight - before).flatten()]).norm()
    assert 0.3 < moved <= 0.5001


def squared(network, batch):
    return network(batch.inputs).square().mean(1)


def test_rates_warm_up_and_fall_to_zero():
    schedule = Schedule(10, 10, 0.1, 0, 1, 0)
    factors = [schedule.factor(step) for step in range(100)]
    assert factors[0] < 0.2
    assert max(factors) == factors[10] == 1
    assert factors[11:] == sorted(factors[11:], reverse=True)
    assert factors[-1] < 0.01
    assert Schedule(1, 1, 0, 0, 1, 0).factor(0) == 1


def test_score_is_mean_loss_and_accuracy_in_inference_mode():
    network = build_network("resnet10", 3)
    loss, accuracy, _ = score(network, batches(0), choose("cpu", "float32"))
    x, y = (torch.cat(rows) for rows in zip(*((b.inputs, b.target) for b in batches(0)), strict=True))
    logits = network.eval()(x)
    assert loss == pytest.approx(torch.nn.functional.cross_entropy(logits, y).item(), rel=1e-4)
    assert accuracy == pytest.approx((logits.argmax(1) == y).float().mean().item())
    assert not network.training


def test_a_rare_class_weighs_the_same_over_all_batches():
    """Rows weigh 8 or 8/15: a batch without the heavy row counts less than a batch with it."""
    x = torch.randn(16, 3, 32, 32)
    weight = torch.cat([torch.full((15,), 8 / 15), torch.tensor([8.0])])
    network = build_network("resnet10", 3).eval()
    optimizer = torch.optim.SGD(network.parameters(), 0)
    y = torch.arange(16) % 3
    parts = [Batch(x[rows], y[rows], weight[rows]) for rows in torch.arange(16).split(4)]
    losses = [step(fit_of(network), part, optimizer, MicroBatches()) for part in parts]
    whole = step(fit_of(network), Batch(x, y, weight), optimizer, MicroBatches())
    assert sum(losses) / 4 == pytest.approx(whole, rel=1e-5)


def test_rows_count_by_their_weights():
    x, y = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 0])
    losses = []
    for rows, weights in (([0, 1, 2, 3], (torch.tensor([1.0, 0.0, 0.0, 3.0]),)), ([0], ()), ([3], ())):
        torch.manual_seed(0)
        network = build_network("resnet10", 3).eval()
        optimizer = torch.optim.SGD(network.parameters(), 0)
        losses.append(step(fit_of(network), Batch(x[rows], y[rows], *weights), optimizer, MicroBatches()))
    assert losses[0] == pytest.approx((losses[1] + 3 * losses[2]) / 4, rel=1e-4)
