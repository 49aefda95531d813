from __future__ import annotations

import math

import pytest
import torch

from tasks.parts.backbone import freeze_all_but_last, learn_mode, parameter_groups
from tasks.parts.checkpoint import FileCheckpoint
from tasks.parts.device import choose
from tasks.parts.errors import RootstockError
from tasks.parts.fit import Recipe, fit, learned, score
from tasks.parts.names import Curve
from tasks.parts.objectives.cross_entropy import cross_entropy
from tasks.parts.scorer import build_network

RECIPE = Recipe(epochs=4, steps_per_epoch=3, warmup=0.2, weight_decay=0.01, patience=9, seed=5)


class Killed(Exception):  # noqa: N818
    pass


def batches(epoch, count=3):
    random = torch.Generator().manual_seed(epoch)
    for _ in range(count):
        y = torch.randint(0, 3, (8,), generator=random)
        yield torch.randn(8, 3, 32, 32, generator=random) + y.view(-1, 1, 1, 1), y


def trained(path, recipe=RECIPE, on_row=lambda _row: None, train=batches, blocks=2, rate=1e-3):
    """A network with dropout, fitted; its progress."""
    torch.manual_seed(0)
    network = build_network("resnet10", 3)
    network.head = torch.nn.Sequential(torch.nn.Dropout(0.3), network.head)
    learning = freeze_all_but_last(network.backbone, blocks)
    device = choose("cpu", "float32")
    progress = fit(
        network,
        train,
        lambda: score(network, batches(99), device),
        cross_entropy,
        recipe,
        groups=parameter_groups(network, learning, rate, rate, 0.5),
        learn_mode=lambda: learn_mode(network, learning, batch_statistics=True),
        device=device,
        checkpoint=FileCheckpoint(path),
        on_row=on_row,
    )
    return network, progress


@pytest.mark.parametrize("last", [1, 2, 3])
def test_a_run_that_was_killed_ends_with_the_same_weights_bit_by_bit(tmp_path, last):
    undisturbed, _ = trained(tmp_path / "a.safetensors")

    def die(row):
        if row[Curve.EPOCH] == last:
            raise Killed

    with pytest.raises(Killed):
        trained(tmp_path / "b.safetensors", on_row=die)
    rows = []
    resumed, progress = trained(tmp_path / "b.safetensors", on_row=rows.append)
    for name, tensor in undisturbed.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    assert [row[Curve.EPOCH] for row in rows] == [0, 1, 2, 3, 4]
    assert progress.epoch == 4


def test_the_best_epoch_is_kept_be_it_the_start(tmp_path):
    """With an absurd rate nothing gets better than the network that came."""
    torch.manual_seed(0)
    network, progress = trained(tmp_path / "a.safetensors", rate=3.0)
    losses = [row[Curve.VALIDATION_LOSS] for row in progress.rows]
    assert min(losses) == losses[0]
    assert score(network, batches(99), choose("cpu", "float32"))[0] == pytest.approx(losses[0], rel=1e-5)


def test_it_stops_when_patience_ends(tmp_path):
    _, progress = trained(tmp_path / "a.safetensors", Recipe(50, 3, 0, 0, 2, 0), rate=3.0)
    losses = [row[Curve.VALIDATION_LOSS] for row in progress.rows]
    assert progress.epoch == losses.index(min(losses)) + 2 < 50


def test_a_loss_that_is_not_finite_names_the_step(tmp_path):
    def poisoned(epoch):
        for number, (x, y) in enumerate(batches(epoch)):
            yield (x * math.nan if (epoch, number) == (1, 1) else x), y

    with pytest.raises(RootstockError, match="at step 5: lower the learning rates"):
        trained(tmp_path / "a.safetensors", train=poisoned)


def test_only_what_learns_is_kept_in_checkpoints():
    network = build_network("resnet10", 3)
    freeze_all_but_last(network.backbone, 1)
    names = set(learned(network))
    assert {"head.weight", "backbone.layer4.0.bn1.running_mean", "backbone.layer4.0.conv1.weight"} <= names
    assert not any(name.startswith(("backbone.conv1", "backbone.layer3")) for name in names)


def test_rates_warm_up_and_fall_to_zero():
    recipe = Recipe(10, 10, 0.1, 0, 1, 0)
    factors = [recipe.factor(step) for step in range(100)]
    assert factors[0] < 0.2
    assert max(factors) == factors[10] == 1
    assert factors[11:] == sorted(factors[11:], reverse=True)
    assert factors[-1] < 0.01
    assert Recipe(1, 1, 0, 0, 1, 0).factor(0) == 1


def test_score_is_mean_loss_and_accuracy_in_inference_mode():
    network = build_network("resnet10", 3)
    loss, accuracy = score(network, batches(0), choose("cpu", "float32"))
    x, y = (torch.cat(parts) for parts in zip(*batches(0), strict=True))
    logits = network.eval()(x)
    assert loss == pytest.approx(torch.nn.functional.cross_entropy(logits, y).item(), rel=1e-4)
    assert accuracy == pytest.approx((logits.argmax(1) == y).float().mean().item())
    assert not network.training


def test_rows_count_by_their_weights():
    network, x, y = build_network("resnet10", 3).eval(), torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 0])
    weighted = cross_entropy(network, x, y, torch.tensor([1.0, 0.0, 0.0, 3.0]))
    one, four = (cross_entropy(network, x[n : n + 1], y[n : n + 1]) for n in (0, 3))
    assert weighted.item() == pytest.approx((one.item() + 3 * four.item()) / 4, rel=1e-4)
    assert cross_entropy(network, x, y, torch.ones(4)).item() == pytest.approx(cross_entropy(network, x, y).item())
