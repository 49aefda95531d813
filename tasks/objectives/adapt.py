"""Plans domain adaptation to an unlabeled target domain; any labels of that domain never influence the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from tasks.core.errors import ParamsError
from tasks.core.objective_sections import Objective, ObjectiveParams
from tasks.core.schema import Curve, Split
from tasks.core.target import TargetKind
from tasks.hardware.device import Device
from tasks.models.freezing import BATCH_NORMS, Names, within
from tasks.objectives.context import TrainingContext
from tasks.objectives.losses.coral import coral
from tasks.objectives.losses.dann import Dann
from tasks.objectives.losses.mcc import mcc
from tasks.objectives.self_train import mixed_batches
from tasks.objectives.unsupervised_validators import VALIDATORS
from tasks.scorer.network import Network
from tasks.training.batches import Batches
from tasks.training.callbacks import Callback
from tasks.training.kinds import measure_for
from tasks.training.loop import outputs, score
from tasks.training.plan import TrainingPlan
from tasks.training.types import Row, Score, Scoring, scoring

VALIDATED_WITHOUT_LABELS = {TargetKind.CLASSIFICATION: True, TargetKind.MULTILABEL: True, TargetKind.REGRESSION: False}


@dataclass(frozen=True)
class DomainValidation(Callback):
    """Scores epochs without target-domain labels; `oracle` adds a report-only column."""

    source: Batches
    target: Batches
    oracle: Batches | None
    device: Device
    scoring: Scoring
    validator: str | None  # None: use the source domain's validation loss

    def validate(self, network: Network) -> Score:
        """Scores the source domain; with a validator, the loss is the negated validator score on the target domain."""
        loss, source_score, _ = score(network, self.source.clean(), self.device, self.scoring)
        if self.validator:
            loss = -VALIDATORS[self.validator](outputs(network, self.target.clean(), self.device).output)
        extra = {}
        if self.oracle:
            extra[Curve.TARGET_SCORE.value] = score(network, self.oracle.clean(), self.device, self.scoring).score
        return Score(loss, source_score, extra)


@dataclass(frozen=True)
class CriticSchedule(Callback):
    """Raises the weight of the reversed gradient over the epochs."""

    dann: Dann
    epochs: int

    def on_epoch_begin(self, epoch: int, network: Network) -> None:
        """Sets the weight for this epoch."""
        del network
        self.dann.begin(epoch, self.epochs)


@dataclass(frozen=True)
class BatchNormReestimation(Callback):
    """Replaces the statistics of the trained BatchNorm layers with the target domain's after the fit."""

    layers: Sequence[str]
    target: Batches

    def may_be_best(self, rows: Sequence[Row]) -> bool:
        """Rejects the initial weights, whose BatchNorm has not been trained."""
        return len(rows) > 1

    def on_end(self, network: Network) -> dict[str, float]:
        """Re-estimates the statistics. Returns the number of layers."""
        return reestimate(network, self.layers, self.target)


def adapt(
    context: TrainingContext, methods: ObjectiveParams, base: TrainingPlan, epochs: int, weight: float
) -> TrainingPlan:
    """Plans the adaptation to the unlabeled images' domain; `weight` is the weight of the adaptation loss."""
    if methods.objective is Objective.BATCHNORM:
        layers = batch_norms(context.backbone.module, base.learning)
        rows = context.data.rows(Split.UNLABELED).sample(frac=1, random_state=0)  # one-class batches would differ
        return replace(base, callbacks=(*base.callbacks, BatchNormReestimation(layers, context.clean_batches(rows))))
    validation = domain_validation(context, methods)
    train = mixed_batches(context, methods.unlabelled, strong=False)
    plan = replace(base, train=train, callbacks=(*base.callbacks, validation), cache_gib=0)
    if methods.objective is Objective.DANN:
        dann = Dann(base.loss, context.backbone.width, weight)
        plan = plan.with_auxiliary(dann.critic)
        return replace(plan, loss=dann, callbacks=(*plan.callbacks, CriticSchedule(dann, epochs)))
    return replace(plan, loss=(coral if methods.objective is Objective.CORAL else mcc)(base.loss, weight))


def domain_validation(context: TrainingContext, methods: ObjectiveParams) -> DomainValidation:
    """Returns the source- and target-domain validation configured by the section `domain`."""
    data = context.data
    oracle = context.clean_batches(data.rows(Split.TEST)) if methods.domain.oracle else None
    return DomainValidation(
        source=context.clean_batches(data.rows(Split.VALIDATION)),
        target=context.clean_batches(data.rows(Split.UNLABELED)),
        oracle=oracle,
        device=context.loader.device,
        scoring=scoring(measure_for(data.target)),
        validator=methods.domain.chosen_by if VALIDATED_WITHOUT_LABELS[data.target.kind] else None,
    )


def batch_norms(module: nn.Module, learning: Sequence[Names]) -> list[str]:
    """Returns the names of the BatchNorm layers in the trained blocks. Raises ParamsError if there are none."""
    names = [name for block in learning for name in block]
    layers = [name for name, layer in module.named_modules() if isinstance(layer, BATCH_NORMS) and within(name, names)]
    if not layers:
        raise ParamsError(
            "objective: batchnorm needs BatchNorm layers, and no trained block of this architecture has one; take "
            "coral or mcc, or raise finetune.blocks",
            key="objective",
        )
    return layers


def reestimate(network: Network, names: Sequence[str], target: Batches) -> dict[str, float]:
    """Sets the BatchNorm statistics of these layers to the mean over the target's batches (Li et al., "AdaBN", 2018).

    Only layers trained with batch statistics are re-estimated: the others were never trained with their own domain's
    statistics.
    """
    layers = [layer for name, layer in network.backbone.named_modules() if name in set(names)]
    network.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
        layer.train()
    with torch.no_grad():
        for batch in target.clean():
            network(batch.inputs)
    network.eval()
    return {"batchnorm_layers": float(len(layers))}
