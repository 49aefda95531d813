"""How each objective becomes a lesson: its loss, its batches, and which epoch is kept."""

from __future__ import annotations

from tasks.core.errors import ParamsError
from tasks.core.schema import Balance
from tasks.core.sections import Methods, Objective
from tasks.hardware.distributed import count
from tasks.objectives.adapt import adapt
from tasks.objectives.context import Setting
from tasks.objectives.defend import defend
from tasks.objectives.distil import distil
from tasks.objectives.requirements import DOMAIN, refuse_unsuited
from tasks.objectives.self_train import fixmatch, pseudo_label
from tasks.scorer.scorer import Network
from tasks.training.trainer import Bench, Lesson


def refuse(setting: Setting, objective: Objective, mixed: bool) -> None:
    """Raises ParamsError for what has no meaning together."""
    refuse_unsuited(objective, setting.manifest)
    if objective is Objective.LABELS:
        return
    if mixed:
        raise ParamsError(f"finetune.mixup, finetune.cutmix: {objective} takes pictures as they are; set both to 0")
    if objective in {Objective.DISTILLATION, Objective.PSEUDO_LABELS} and setting.balance is Balance.SAMPLING:
        raise ParamsError(f"balance: {objective} goes through all images, so none is drawn; take weights or logits")
    if count() > 1:
        raise ParamsError(f"finetune.processes: {objective} takes whole batches; set it to 1, and do without torchrun")


def lesson_of(
    setting: Setting, methods: Methods, network: Network, base: Lesson, epochs: int, weight: float
) -> tuple[Bench, Lesson]:
    """The bench and the lesson of the objective; `base` is that on labels, `weight` that of the adaptation's loss.

    Raises ParamsError for what is missing, and DataRefusedError for labels that fail their audit.
    """
    objective = methods.objective
    if objective is Objective.DISTILLATION:
        return distil(setting, methods, base)
    if objective is Objective.PSEUDO_LABELS:
        return pseudo_label(setting, methods, network, base)
    if objective is Objective.FIXMATCH:
        return fixmatch(setting, methods, base)
    if objective in DOMAIN:
        return setting.bench, adapt(setting, methods, base, epochs, weight)
    if objective.has_adversary:
        return setting.bench, defend(setting, methods, base)
    return setting.bench, base
