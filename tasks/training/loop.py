"""The fit loop, a ladder: fit -> run_epoch -> step. Each rung can be replaced; objectives ride on the lowest.

A run that was killed goes on from the last epoch that was saved and ends with the same weights as an undisturbed one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tasks.core.errors import RootstockError
from tasks.core.schema import Curve
from tasks.hardware.device import Device
from tasks.hardware.distributed import gathered, rank, sum_gradients, summed
from tasks.hardware.microbatches import Parts
from tasks.training.measures import measure_classes
from tasks.training.state import Checkpoint, FitState, Progress, Row
from tasks.training.types import Batch, Batches, Judge, MeasureMore, Objective, Scored

APART = 2**40  # between the seeds of processes: each drops units of its own


@dataclass(frozen=True)
class Recipe:
    """How long and how fast to learn. Rates are those of the parameter groups, scaled by warm-up and cosine."""

    epochs: int
    steps_per_epoch: int
    warmup: float
    weight_decay: float
    patience: int
    seed: int
    clip: float = 0.0  # longest gradient; 0: any
    parts: int = 1  # that a batch is computed in, its gradients accumulated
    average: float = 0.0  # decay of the weights' moving average, which is what is kept; 0: the weights themselves

    def factor(self, step: int) -> float:
        """The rates' factor at `step`: linear warm-up, then a cosine to zero (Loshchilov and Hutter, 2017)."""
        total = self.epochs * self.steps_per_epoch
        warm = self.warmup * total
        if step < warm:
            return (step + 1) / (warm + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(total - warm, 1)))


def fit(
    network: nn.Module,
    train: Batches,
    validate: Callable[[], Scored],
    objective: Objective,
    recipe: Recipe,
    *,
    groups: Sequence[dict[str, Any]],
    learn_mode: Callable[[int], None],
    device: Device,
    checkpoint: Checkpoint,
    on_row: Callable[[Row], None],
    eligible: Judge = lambda _rows: True,
    enough: Judge = lambda _rows: False,
) -> Progress:
    """Trains, stops early, and leaves the network with its best weights, which may be those it came with.

    `groups` are parameter groups with a `rate`; `learn_mode` makes ready for an epoch: what learns in it, and the
    modules' modes. Rows of the curve, also those of a resumed run's past, go to `on_row`. Only an epoch that is
    `eligible` is kept; one that is `enough` is kept and ends the fit. Raises RootstockError for a loss that is not
    finite.
    """
    optimiser = torch.optim.AdamW(
        [{**group, "lr": 0.0} for group in groups], weight_decay=recipe.weight_decay, fused=device.fuses
    )
    state = FitState(network, optimiser, recipe.average)
    state.resume(checkpoint)
    progress = state.progress
    parts = Parts(max(recipe.parts, progress.parts))
    for row in progress.rows:
        on_row(row)
    if not progress.rows:
        note(state, validate(), None, recipe, eligible, enough)
        on_row(progress.rows[-1])
    while progress.epoch < recipe.epochs and progress.stale < recipe.patience and not enough(progress.rows):
        started = time.perf_counter()
        torch.manual_seed(recipe.seed * 100_003 + progress.epoch + APART * rank())
        learn_mode(progress.epoch)
        loss = run_epoch(state, train(progress.epoch), objective, recipe, device, parts)
        state.agree()
        progress.epoch, progress.parts = progress.epoch + 1, parts.count
        with state.averaged():
            note(state, validate(), loss, recipe, eligible, enough)
        progress.seconds += time.perf_counter() - started
        state.save(checkpoint)
        on_row(progress.rows[-1])
    network.load_state_dict(progress.best, strict=False)
    return progress


def run_epoch(
    state: FitState, batches: Iterable[Batch], objective: Objective, recipe: Recipe, device: Device, parts: Parts
) -> float:
    """One pass over the batches; the mean of their losses."""
    losses = []
    for number, batch in enumerate(batches):
        count = state.progress.epoch * recipe.steps_per_epoch + number
        for group in state.optimiser.param_groups:
            group["lr"] = group["rate"] * recipe.factor(count)
        losses.append(step(state.network, batch, objective, state.optimiser, device, parts, recipe.clip))
        if not math.isfinite(losses[-1]):
            raise RootstockError(
                f"the loss is {losses[-1]} at step {count + 1}: lower the learning rates of this stage"
            )
        state.average(count + 1)
    return sum(losses) / len(losses)


def step(
    network: nn.Module,
    batch: Batch,
    objective: Objective,
    optimiser: torch.optim.Optimizer,
    device: Device,
    parts: Parts,
    clip: float = 0.0,
) -> float:
    """One update; the loss before it, the mean over rows of what each one's weight makes of its own.

    It is not divided by the weights of the batch: in one without a rare class the others would count in full, and the
    rare rows less in one with it, so that over all batches classes would not weigh what they should.
    """
    x, y, *weights = batch
    weight_N = weights[0] if weights else torch.ones(len(x), device=x.device)
    share_N = weight_N / summed(torch.tensor(float(len(x)), device=x.device))

    def gradients(chunks: list[Batch]) -> float:
        optimiser.zero_grad(set_to_none=True)
        return sum(_gradient(network, chunk, objective, device) for chunk in chunks)

    loss = summed(torch.tensor(parts.tried(gradients, (x, y, share_N)), device=x.device)).item()
    learning = [p for group in optimiser.param_groups for p in group["params"]]
    sum_gradients(learning)
    if clip:
        torch.nn.utils.clip_grad_norm_(learning, clip)
    optimiser.step()
    return loss


def _gradient(network: nn.Module, chunk: Batch, objective: Objective, device: Device) -> float:
    """Adds the gradient of some rows, each by its share of the batch; their part of the loss."""
    x, y, share_N = chunk
    with device.autocast():
        loss = (objective(network, x, y) * share_N).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item()


def score(
    network: nn.Module, batches: Iterable[Batch], device: Device, measure: MeasureMore = measure_classes
) -> Scored:
    """Mean loss, and accuracy or what else `measure` finds, in inference mode."""
    return measure(*outputs(network, batches, device))


def outputs(network: nn.Module, batches: Iterable[Batch], device: Device) -> tuple[Tensor, Tensor]:
    """What the network gives for all inputs, float32, and the truths."""
    network.eval()
    parts = Parts()
    with torch.inference_mode(), device.autocast():
        outcomes = [
            (parts.tried(lambda chunks: torch.cat([network(x).float() for x, *_ in chunks]), (x,)), y)
            for x, y, *_ in batches
        ]
    output, y = (gathered(torch.cat(found)) for found in zip(*outcomes, strict=True))
    return output, y


def note(state: FitState, scored: Scored, loss: float | None, recipe: Recipe, eligible: Judge, enough: Judge) -> None:
    """Adds a row to the curve; keeps the learned tensors if they are the best so far, or good enough."""
    progress = state.progress
    row: Row = {Curve.EPOCH: progress.epoch, Curve.STEP: progress.epoch * recipe.steps_per_epoch}
    row |= {Curve.VALIDATION_LOSS: scored[0], Curve.VALIDATION_SCORE: scored[1]}
    row |= scored[2] if len(scored) == 3 else {}
    progress.rows.append(row if loss is None else {**row, Curve.TRAIN_LOSS: loss})
    better = (scored[0] < progress.lowest and eligible(progress.rows)) or enough(progress.rows)
    progress.stale = 0 if better or loss is None else progress.stale + 1
    if better or not progress.best:
        progress.best, progress.kept = state.learned(), len(progress.rows) - 1
        progress.lowest = scored[0] if better else math.inf
