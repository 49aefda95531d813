"""The complete state of a fit, so that it can stop anywhere and resume: network, optimizer, moving average, progress.

A state consists of named tensors and JSON values. Random generators are reseeded at each epoch, so none is saved.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from tasks.hardware.distributed import all_reduce_mean, count
from tasks.models.freezing import BATCH_NORMS, ParameterGroup
from tasks.training.moving_average import MovingAverage
from tasks.training.types import Outputs, Row

Tensors = dict[str, Tensor]


class Checkpoint(Protocol):
    """Storage of a fit's state that outlives the process."""

    def load(self) -> tuple[Tensors, dict[str, Any]] | None:
        """Returns the last saved tensors and values, or None if there are none."""

    def save(self, tensors: Tensors, values: dict[str, Any]) -> None:
        """Replaces the saved tensors and values."""


@dataclass(frozen=True)
class Interpolated:
    """The point chosen at `alpha` of the way from the initial to the last weights, its score, and the outputs at all.

    Outputs are on the validation images, by alpha.
    """

    alpha: float
    score: float
    outputs: Mapping[float, Outputs]


@dataclass
class Progress:
    """The position after `epoch` epochs; `best` holds the trained tensors for the row `kept`, `lowest` its loss.

    `parts`: micro-batches per batch in the last epoch (it grows after out-of-memory errors). `interpolated` is set
    after the fit if a point between the initial and the last weights was chosen.
    """

    epoch: int = 0
    seconds: float = 0.0
    stale: int = 0
    kept: int = 0
    parts: int = 1
    lowest: float = math.inf
    rows: list[Row] = field(default_factory=list)
    best: Tensors = field(default_factory=dict)
    interpolated: Interpolated | None = None


class FitState:
    """All state that a fit changes. `decay`: the decay of the weights' exponential moving average; 0: no average."""

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer, decay: float = 0.0) -> None:
        self.network = network
        self.optimizer = optimizer
        self.progress = Progress()
        self._names = changing(network, (p for group in optimizer.param_groups for p in group["params"]))
        self._ema = MovingAverage(self.learned(), decay)

    def learned(self) -> Tensors:
        """Copies the part of the network's state that this fit changes."""
        return {name: tensor.clone() for name, tensor in self.network.state_dict().items() if name in self._names}

    def average(self, step: int) -> None:
        """Moves the average toward the weights after `step` steps."""
        if self._ema.tensors:
            self._ema.update(self.network.state_dict(), step)

    def synchronize(self) -> None:
        """Averages BatchNorm's running statistics over the processes, each of which has seen a part of the batches."""
        if count() == 1:
            return
        learned = [
            f"{name}.{buffer}"
            for name, layer in self.network.named_modules()
            if isinstance(layer, BATCH_NORMS) and layer.training and not isinstance(layer, nn.SyncBatchNorm)
            for buffer in ("running_mean", "running_var")
        ]
        for state in (self.network.state_dict(), self._ema.tensors):
            all_reduce_mean(state[name] for name in learned if name in state)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Swaps in the averaged weights, if any, for the duration of the block."""
        if not self._ema.tensors:
            yield
            return
        now = self.learned()
        self.network.load_state_dict(self._ema.tensors, strict=False)
        yield
        self.network.load_state_dict(now, strict=False)

    def result(self) -> Tensors:
        """Returns the moving average, if there is one, else the present weights."""
        return self._ema.tensors or self.learned()

    def save(self, checkpoint: Checkpoint) -> None:
        """Saves everything that `resume` needs."""
        tensors = {f"network.{name}": tensor for name, tensor in self.learned().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.progress.best.items()}
        tensors |= {f"average.{name}": tensor for name, tensor in self._ema.tensors.items()}
        for number, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": tensor for name, tensor in state.items()}
        values = {name: value for name, value in vars(self.progress).items() if name != "best"}
        checkpoint.save(tensors, values)

    def resume(self, checkpoint: Checkpoint) -> None:
        """Restores the saved state, if there is one."""
        saved = checkpoint.load()
        if saved is None:
            return
        tensors, values = saved
        self.network.load_state_dict(_part(tensors, "network"), strict=False)
        self._ema.load(_part(tensors, "average"))
        state: dict[int, Tensors] = {}
        for name, tensor in _part(tensors, "optimizer").items():
            number, _, key = name.partition(".")
            state.setdefault(int(number), {})[key] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        for parameter, moments in self.optimizer.state.items():  # GPU kernels need the parameter's own memory layout
            moments.update(
                {
                    name: torch.empty_like(parameter).copy_(t)
                    for name, t in moments.items()
                    if t.shape == parameter.shape
                }
            )
        self.progress = Progress(**values, best=_part(tensors, "best"))


def trained_tensors(network: nn.Module, groups: Iterable[ParameterGroup]) -> Tensors:
    """Copies the part of the network's state that training these groups changes."""
    names = changing(network, (p for group in groups for p in group.parameters))
    return {name: tensor.clone() for name, tensor in network.state_dict().items() if name in names}


def changing(network: nn.Module, parameters: Iterable[nn.Parameter]) -> set[str]:
    """Returns the names of the state that training `parameters` changes: their own and their modules' buffers."""
    trained = {id(parameter) for parameter in parameters}
    learning = {name for name, parameter in network.named_parameters() if id(parameter) in trained}
    modules = {name.rpartition(".")[0] for name in learning}
    return learning | {name for name, _ in network.named_buffers() if name.rpartition(".")[0] in modules}


def _part(tensors: Tensors, name: str) -> Tensors:
    return {key.removeprefix(f"{name}."): tensor for key, tensor in tensors.items() if key.startswith(f"{name}.")}
