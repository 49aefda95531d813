"""The plan of a fit: what is trained, how fast, by which loss, and who is called along the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import nn

from tasks.models.freezing import Names, ParameterGroup, learn_mode, thaw, unfrozen
from tasks.scorer.network import Network
from tasks.training.callbacks import Callback
from tasks.training.mixed_batches import MixedBatches
from tasks.training.types import Loss


@dataclass(frozen=True)
class TrainingPlan:
    """The plan of a fit: trainable layers, learning rates, loss, batches and callbacks."""

    learning: Sequence[Names]
    groups: Sequence[ParameterGroup]
    loss: Loss
    batch_statistics: bool
    smoothing: float = 0.0  # label smoothing of the loss, for objectives that rebuild it
    unfreeze_every: int = 0  # epochs between unfreezing one more block; 0: all from the start
    passes: int = 1  # over the training images, per epoch
    dropout: bool = False
    cache_gib: float = 0.0  # limit on cached activations of the frozen prefix
    compile: bool = False  # compiles the trainable part
    train: MixedBatches | None = None  # replaces the trainer's batches; never cached activations
    auxiliary_module: nn.Module | None = None  # trained with the network, then discarded
    callbacks: tuple[Callback, ...] = ()
    alphas: Sequence[float] = ()  # candidate points from the initial to the last weights

    @property
    def interpolates(self) -> bool:
        """Returns whether a point between the initial and the last weights is chosen, instead of the best epoch.

        Callbacks have criteria of their own, and running statistics between two models fit neither.
        """
        inside = any(alpha < 1 for alpha in self.alphas)
        return bool(self.alphas) and not self.callbacks and not (self.batch_statistics and inside)

    def with_auxiliary(self, module: nn.Module | None) -> TrainingPlan:
        """Returns the plan with a module that is trained at the head's rate and discarded after the fit."""
        if module is None:
            return self
        groups = [*self.groups, ParameterGroup(list(module.parameters()), self.groups[0].lr)]
        return replace(self, auxiliary_module=module, groups=groups)

    def prepare_epoch(self, network: Network, epoch: int) -> None:
        """Runs the callbacks, unfreezes the blocks of this epoch and sets the modules' modes."""
        for callback in self.callbacks:
            callback.on_epoch_begin(epoch, network)
        learning = unfrozen(self.learning, epoch, self.unfreeze_every)
        thaw(network.backbone, learning)
        learn_mode(network, learning, batch_statistics=self.batch_statistics, dropout=self.dropout)

    def finish(self, network: Network) -> dict[str, float]:
        """Runs `on_end` of the callbacks. Returns their numbers for the report."""
        return {name: value for callback in self.callbacks for name, value in callback.on_end(network).items()}
