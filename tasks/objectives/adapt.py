"""The lessons of a labelled domain and an unlabelled one; no label of the target decides anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
import torch
from torch import nn

from tasks.core.errors import ParamsError
from tasks.core.schema import Curve, Split
from tasks.core.sections import Methods, Objective
from tasks.models.freezing import BATCH_NORMS, Names, within
from tasks.objectives.context import Setting
from tasks.objectives.losses.coral import coral
from tasks.objectives.losses.dann import Dann
from tasks.objectives.losses.mcc import mcc
from tasks.objectives.self_train import mixed
from tasks.objectives.unsupervised_validators import VALIDATORS
from tasks.scorer.scorer import Network
from tasks.training.loop import outputs, score
from tasks.training.trainer import Lesson, with_helper
from tasks.training.types import Scored


def adapt(setting: Setting, methods: Methods, base: Lesson, epochs: int, weight: float) -> Lesson:
    """A labelled domain's lesson, adapted to the unlabelled one; the epoch is chosen without that one's labels."""
    bench, goal, unlabelled = setting.bench, setting.bench.goal, setting.rows(Split.UNLABELLED)
    target, source = setting.batches(unlabelled), setting.batches(setting.rows(Split.VALIDATION))
    looked_at = setting.batches(setting.rows(Split.TEST)) if methods.domain.oracle else None

    def validate(network: Network) -> Scored:
        loss, known, *_ = score(network, source.clean(), bench.device, goal.measure())
        if not goal.targets:
            loss = -VALIDATORS[methods.domain.chosen_by](outputs(network, target.clean(), bench.device)[0])
        more = {}
        if looked_at:
            more[Curve.TARGET_SCORE.value] = score(network, looked_at.clean(), bench.device, goal.measure())[1]
        return loss, known, more

    if methods.objective is Objective.BATCHNORM:
        layers = batch_norms(setting.backbone.module, base.learning)

        def finish(network: Network) -> dict[str, float]:
            return reestimated(setting, network, layers, unlabelled)

        return replace(base, finish=finish, eligible=lambda rows: len(rows) > 1)  # the start learned no statistics
    lesson = replace(base, train=mixed(setting, methods, strong=False), validate=validate, cache=0)
    if methods.objective is Objective.DANN:
        dann = Dann(base.objective, setting.backbone.width, weight)
        lesson = with_helper(lesson, dann.critic)
        return replace(lesson, objective=dann, begin=lambda epoch, _network: dann.begin(epoch, epochs))
    return replace(lesson, objective=(coral if methods.objective is Objective.CORAL else mcc)(base.objective, weight))


def batch_norms(module: nn.Module, learning: Sequence[Names]) -> list[str]:
    """Names of the BatchNorm layers in what learns. Raises ParamsError if there is none."""
    names = [name for block in learning for name in block]
    found = [name for name, layer in module.named_modules() if isinstance(layer, BATCH_NORMS) and within(name, names)]
    if not found:
        raise ParamsError(
            "objective: batchnorm re-estimates what no learning block of this architecture has; take coral or mcc, or "
            "raise finetune.blocks"
        )
    return found


def reestimated(setting: Setting, network: Network, names: Sequence[str], rows: pd.DataFrame) -> dict[str, float]:
    """These BatchNorms' statistics become those of these images, their plain mean (Li et al., "AdaBN", 2018).

    Only of layers that learned with the statistics of their batches: the others never saw their own domain's.
    """
    layers = [layer for name, layer in network.backbone.named_modules() if name in set(names)]
    rows = rows.sample(frac=1, random_state=0)  # a batch of one class has other statistics
    network.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
        layer.train()
    with torch.no_grad():
        for x_N3SS, *_ in setting.batches(rows).clean():
            network(x_N3SS)
    network.eval()
    return {"batchnorm_layers": float(len(layers))}
