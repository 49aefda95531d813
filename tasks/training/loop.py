"""The fit loop in three layers: fit -> run_epoch -> step. Each can be replaced; objectives plug in at the lowest.

A killed run resumes from the last saved epoch and ends with the same weights as an uninterrupted run.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tasks.core.errors import RootstockError
from tasks.core.schema import Curve
from tasks.hardware.device import Device
from tasks.hardware.distributed import all_gather, all_reduce_sum, rank, sum_gradients
from tasks.hardware.microbatches import MicroBatches
from tasks.models.freezing import ParameterGroup
from tasks.training.callbacks import Callback
from tasks.training.measures import measure_classes
from tasks.training.state import Checkpoint, FitState, Progress
from tasks.training.types import Batch, EpochBatches, Loss, Outputs, Row, Score, Scoring, scoring

NOT_FINITE = "loss-not-finite"  # key of the error
SEED_STRIDE = 2**40  # offset between the seeds of processes, so that each has its own dropout masks
BY_ACCURACY = scoring(measure_classes)


@dataclass(frozen=True)
class Schedule:
    """The training schedule. Learning rates are those of the parameter groups, scaled by warm-up and cosine decay."""

    epochs: int
    steps_per_epoch: int
    warmup: float  # fraction of the steps
    weight_decay: float
    patience: int  # epochs without a lower validation loss before the fit stops
    seed: int
    max_grad_norm: float = 0.0  # 0: gradients are not clipped
    accumulation_steps: int = 1  # micro-batches per batch
    ema_decay: float = 0.0  # of the weights' moving average, which is then the result; 0: no average

    def factor(self, step: int) -> float:
        """Returns the learning rates' factor at `step`: linear warm-up, then a cosine (Loshchilov and Hutter, 2017)."""
        total = self.epochs * self.steps_per_epoch
        warm = self.warmup * total
        if step < warm:
            return (step + 1) / (warm + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(total - warm, 1)))


@dataclass(frozen=True)
class Fit:
    """The fixed parts of a fit: network, loss, schedule, device and callbacks."""

    network: nn.Module
    loss: Loss
    schedule: Schedule
    device: Device
    callbacks: Sequence[Callback] = ()

    def should_stop(self, rows: Sequence[Row]) -> bool:
        """Asks the callbacks whether the last row ends the fit."""
        return any(callback.should_stop(rows) for callback in self.callbacks)

    def may_be_best(self, rows: Sequence[Row]) -> bool:
        """Asks the callbacks whether the last row may be kept."""
        return all(callback.may_be_best(rows) for callback in self.callbacks)


def fit(
    network: nn.Module,
    train: EpochBatches,
    validate: Callable[[], Score],
    loss: Loss,
    schedule: Schedule,
    *,
    groups: Sequence[ParameterGroup],
    prepare_epoch: Callable[[int], None],
    device: Device,
    checkpoint: Checkpoint,
    on_row: Callable[[Row], None],
    callbacks: Sequence[Callback] = (),
    keep_last: bool = False,
) -> Progress:
    """Trains with early stopping and leaves the network with its best weights, which may be the initial weights.

    With `keep_last`, it is left with the last weights, or their moving average. `prepare_epoch` sets the trainable
    layers of an epoch and the modules' modes. `on_row` is called with every row of the curve, including those from
    before a resume. Raises RootstockError if a loss is not finite.
    """
    run = Fit(network, loss, schedule, device, callbacks)
    state = FitState(network, _optimizer(groups, schedule, device), schedule.ema_decay)
    state.resume(checkpoint)
    progress = state.progress
    micro = MicroBatches(max(schedule.accumulation_steps, progress.parts))
    for row in progress.rows:
        on_row(row)
    if not progress.rows:
        record(state, validate(), None, run)
        on_row(progress.rows[-1])
    while not _is_over(progress, run):
        started = time.perf_counter()
        torch.manual_seed(schedule.seed * 100_003 + progress.epoch + SEED_STRIDE * rank())
        prepare_epoch(progress.epoch)
        train_loss = run_epoch(run, state, train(progress.epoch), micro)
        state.synchronize()
        progress.epoch, progress.parts = progress.epoch + 1, micro.count
        with state.averaged():
            record(state, validate(), train_loss, run)
        progress.seconds += time.perf_counter() - started
        state.save(checkpoint)
        on_row(progress.rows[-1])
    network.load_state_dict(state.result() if keep_last else progress.best, strict=False)
    return progress


def _is_over(progress: Progress, run: Fit) -> bool:
    schedule = run.schedule
    ended = progress.epoch >= schedule.epochs or progress.stale >= schedule.patience
    return ended or run.should_stop(progress.rows)


def _optimizer(groups: Sequence[ParameterGroup], schedule: Schedule, device: Device) -> torch.optim.Optimizer:
    """Returns AdamW with each group's full learning rate stored as `base_lr`; biases and norms are not decayed."""
    settings = [
        {"params": part, "base_lr": group.lr, "lr": 0.0} | ({} if decayed else {"weight_decay": 0.0})
        for group in groups
        for decayed, part in (
            (True, [p for p in group.parameters if p.dim() > 1]),
            (False, [p for p in group.parameters if p.dim() <= 1]),
        )
        if part
    ]
    return torch.optim.AdamW(settings, weight_decay=schedule.weight_decay, fused=device.fuses)


def run_epoch(run: Fit, state: FitState, batches: Iterable[Batch], micro: MicroBatches) -> float:
    """Trains on all batches once. Returns their mean loss."""
    losses = []
    for number, batch in enumerate(batches):
        count = state.progress.epoch * run.schedule.steps_per_epoch + number
        for group in state.optimizer.param_groups:
            group["lr"] = group["base_lr"] * run.schedule.factor(count)
        losses.append(step(run, batch, state.optimizer, micro))
        if not math.isfinite(losses[-1]):
            raise RootstockError(
                f"the loss is {losses[-1]} at step {count + 1}: lower the learning rates of this stage",
                key=NOT_FINITE,
            )
        state.average(count + 1)
    return sum(losses) / len(losses)


def step(run: Fit, batch: Batch, optimizer: torch.optim.Optimizer, micro: MicroBatches) -> float:
    """Updates the weights once. Returns the loss before the update: the weighted sum over rows divided by batch size.

    The loss is divided by the batch size, not by the sum of its weights: otherwise classes would be weighted
    differently in batches that lack a rare class.
    """
    x = batch.inputs
    weight_N = torch.ones(len(x), device=x.device) if batch.weight is None else batch.weight
    share_N = weight_N / all_reduce_sum(torch.tensor(float(len(x)), device=x.device))

    def gradients(chunks: list[Batch]) -> float:
        optimizer.zero_grad(set_to_none=True)
        return sum(_gradient(run, chunk) for chunk in chunks)

    loss = micro.run_with_retry(gradients, batch._replace(weight=share_N))
    total = all_reduce_sum(torch.tensor(loss, device=x.device)).item()
    trainable = [p for group in optimizer.param_groups for p in group["params"]]
    sum_gradients(trainable)
    if run.schedule.max_grad_norm:
        torch.nn.utils.clip_grad_norm_(trainable, run.schedule.max_grad_norm)
    optimizer.step()
    return total


def _gradient(run: Fit, chunk: Batch) -> float:
    """Adds the gradient of a micro-batch, whose weights are shares of the full batch. Returns its part of the loss."""
    share_N = torch.ones(()) if chunk.weight is None else chunk.weight
    with run.device.autocast():
        loss = (run.loss(run.network, chunk) * share_N).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item()


def score(network: nn.Module, batches: Iterable[Batch], device: Device, score_outputs: Scoring = BY_ACCURACY) -> Score:
    """Scores the network on these batches in inference mode."""
    return score_outputs(outputs(network, batches, device))


def outputs(network: nn.Module, batches: Iterable[Batch], device: Device) -> Outputs:
    """Returns the network's outputs for all batches, (N, C) float32, in inference mode, with targets and teacher."""
    network.eval()
    micro = MicroBatches()

    def forward(chunks: list[tuple[Tensor]]) -> Tensor:
        return torch.cat([network(x).float() for (x,) in chunks])

    with torch.inference_mode(), device.autocast():
        rows = [Outputs(micro.run_with_retry(forward, (b.inputs,)), b.target, b.teacher) for b in batches]
    output, target, teacher = zip(*rows, strict=True)
    teacher_NA = None if teacher[0] is None else all_gather(torch.cat(teacher))
    return Outputs(all_gather(torch.cat(output)), all_gather(torch.cat(target)), teacher_NA)


def record(state: FitState, scored: Score, train_loss: float | None, run: Fit) -> None:
    """Adds a row to the curve; keeps the trained tensors if they are the best so far or if a callback ends the fit."""
    progress = state.progress
    row: Row = {Curve.EPOCH: progress.epoch, Curve.STEP: progress.epoch * run.schedule.steps_per_epoch}
    row |= {Curve.VALIDATION_LOSS: scored.loss, Curve.VALIDATION_SCORE: scored.score, **scored.extra}
    progress.rows.append(row if train_loss is None else {**row, Curve.TRAIN_LOSS: train_loss})
    better = scored.loss < progress.lowest and run.may_be_best(progress.rows)
    better = better or run.should_stop(progress.rows)
    progress.stale = 0 if better or train_loss is None else progress.stale + 1
    if better or not progress.best:
        progress.best, progress.kept = state.learned(), len(progress.rows) - 1
        progress.lowest = scored.loss if better else math.inf
