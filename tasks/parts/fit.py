"""The fit loop, a ladder: fit -> run_epoch -> step. Each rung can be replaced; objectives ride on the lowest.

Randomness is seeded at each epoch and everything else is in the checkpoint, so that a run that was killed ends with
the same weights as an undisturbed one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tasks.parts.device import Device
from tasks.parts.errors import RootstockError
from tasks.parts.names import Curve

Batch = tuple[Tensor, ...]  # inputs (N, 3, S, S), classes (N,), and where rows do not all count the same, weights (N,)
Batches = Callable[[int], Iterable[Batch]]  # of an epoch
Objective = Callable[..., Tensor]  # of the network and a batch
Measure = Callable[[Tensor, Tensor], tuple[float, float]]  # of outputs and truth: loss, and how good that is
Row = dict[str, float]


class Checkpoint(Protocol):
    """Where the state of a fit outlives the process."""

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """What was saved last, or None."""

    def save(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Replaces what was saved."""


@dataclass(frozen=True)
class Recipe:
    """How long and how fast to learn. Rates are those of the parameter groups, scaled by warm-up and cosine."""

    epochs: int
    steps_per_epoch: int
    warmup: float
    weight_decay: float
    patience: int
    seed: int

    def factor(self, step: int) -> float:
        """The rates' factor at `step`: linear warm-up, then a cosine to zero (Loshchilov and Hutter, 2017)."""
        total = self.epochs * self.steps_per_epoch
        warm = self.warmup * total
        if step < warm:
            return (step + 1) / (warm + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(total - warm, 1)))


@dataclass
class Progress:
    """Where a fit stands: after `epoch` epochs; `best` are the learned tensors of the epoch with the lowest loss."""

    epoch: int = 0
    seconds: float = 0.0
    stale: int = 0
    rows: list[Row] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)

    def best_loss(self) -> float:
        """The lowest validation loss so far."""
        return min((row[Curve.VALIDATION_LOSS] for row in self.rows), default=math.inf)


def fit(
    network: nn.Module,
    train: Batches,
    validate: Callable[[], tuple[float, float]],
    objective: Objective,
    recipe: Recipe,
    *,
    groups: Sequence[dict[str, Any]],
    learn_mode: Callable[[], None],
    device: Device,
    checkpoint: Checkpoint,
    on_row: Callable[[Row], None],
) -> Progress:
    """Trains, stops early, and leaves the network with its best weights, which may be those it came with.

    `groups` are parameter groups with a `rate`; `learn_mode` puts the network in training mode. Rows of the curve,
    also those of a resumed run's past, go to `on_row`. Raises RootstockError for a loss that is not finite.
    """
    optimiser = torch.optim.AdamW([{**group, "lr": 0.0} for group in groups], weight_decay=recipe.weight_decay)
    progress = resume(network, optimiser, checkpoint)
    for row in progress.rows:
        on_row(row)
    if not progress.rows:
        note(progress, network, validate(), None, recipe)
        on_row(progress.rows[-1])
    while progress.epoch < recipe.epochs and progress.stale < recipe.patience:
        started = time.perf_counter()
        torch.manual_seed(recipe.seed * 100_003 + progress.epoch)
        learn_mode()
        loss = run_epoch(network, train(progress.epoch), objective, optimiser, recipe, progress.epoch, device)
        progress.epoch += 1
        note(progress, network, validate(), loss, recipe)
        progress.seconds += time.perf_counter() - started
        save(progress, network, optimiser, checkpoint)
        on_row(progress.rows[-1])
    network.load_state_dict(progress.best, strict=False)
    return progress


def run_epoch(
    network: nn.Module,
    batches: Iterable[Batch],
    objective: Objective,
    optimiser: torch.optim.Optimizer,
    recipe: Recipe,
    epoch: int,
    device: Device,
) -> float:
    """One pass over the batches; the mean of their losses."""
    losses = []
    for number, batch in enumerate(batches):
        count = epoch * recipe.steps_per_epoch + number
        for group in optimiser.param_groups:
            group["lr"] = group["rate"] * recipe.factor(count)
        losses.append(step(network, batch, objective, optimiser, device))
        if not math.isfinite(losses[-1]):
            raise RootstockError(
                f"the loss is {losses[-1]} at step {count + 1}: lower the learning rates of this stage"
            )
    return sum(losses) / len(losses)


def step(
    network: nn.Module, batch: Batch, objective: Objective, optimiser: torch.optim.Optimizer, device: Device
) -> float:
    """One update; the loss before it."""
    optimiser.zero_grad(set_to_none=True)
    with device.autocast():
        loss = objective(network, *batch)
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    return loss.item()


def measure_classes(logits_NC: Tensor, y_N: Tensor) -> tuple[float, float]:
    """Mean cross-entropy and accuracy."""
    return F.cross_entropy(logits_NC, y_N).item(), (logits_NC.argmax(1) == y_N).float().mean().item()


def score(
    network: nn.Module, batches: Iterable[Batch], device: Device, measure: Measure = measure_classes
) -> tuple[float, float]:
    """Mean loss, and accuracy or what else `measure` finds, in inference mode."""
    network.eval()
    with torch.inference_mode(), device.autocast():
        outcomes = [(network(x_N3SS).float(), y) for x_N3SS, y, *_ in batches]
    output, y = (torch.cat(parts) for parts in zip(*outcomes, strict=True))
    return measure(output, y)


def note(
    progress: Progress, network: nn.Module, score: tuple[float, float], loss: float | None, recipe: Recipe
) -> None:
    """Adds a row to the curve; keeps the learned tensors if they are the best so far."""
    better = score[0] < progress.best_loss()
    progress.stale = 0 if better else progress.stale + 1
    if better or not progress.best:
        progress.best = {name: tensor.clone() for name, tensor in learned(network).items()}
    row: Row = {Curve.EPOCH: progress.epoch, Curve.STEP: progress.epoch * recipe.steps_per_epoch}
    row |= {Curve.VALIDATION_LOSS: score[0], Curve.VALIDATION_SCORE: score[1]}
    progress.rows.append(row if loss is None else {**row, Curve.TRAIN_LOSS: loss})


def learned(network: nn.Module) -> dict[str, Tensor]:
    """The part of the state that training changes: parameters that learn, and the buffers beside them."""
    learning = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    modules = {name.rpartition(".")[0] for name in learning}
    buffers = {name for name, _ in network.named_buffers() if name.rpartition(".")[0] in modules}
    return {name: tensor for name, tensor in network.state_dict().items() if name in learning | buffers}


def save(progress: Progress, network: nn.Module, optimiser: torch.optim.Optimizer, checkpoint: Checkpoint) -> None:
    """Everything that `resume` needs, as named tensors and JSON values."""
    tensors = {f"network.{name}": tensor for name, tensor in learned(network).items()}
    tensors |= {f"best.{name}": tensor for name, tensor in progress.best.items()}
    for number, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{number}.{name}": tensor for name, tensor in state.items()}
    values = {"epoch": progress.epoch, "seconds": progress.seconds, "stale": progress.stale, "rows": progress.rows}
    checkpoint.save(tensors, values)


def resume(network: nn.Module, optimiser: torch.optim.Optimizer, checkpoint: Checkpoint) -> Progress:
    """The progress that was saved, with network and optimiser put back; a fresh one if there is none."""
    found = checkpoint.load()
    if found is None:
        return Progress()
    tensors, values = found
    network.load_state_dict(_part(tensors, "network"), strict=False)
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _part(tensors, "optimiser").items():
        number, _, key = name.partition(".")
        state.setdefault(int(number), {})[key] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    return Progress(values["epoch"], values["seconds"], values["stale"], values["rows"], _part(tensors, "best"))


def _part(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}."): tensor for key, tensor in tensors.items() if key.startswith(f"{name}.")}
