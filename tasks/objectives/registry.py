"""Maps each objective to the function that plans its fit: loss, batches, and the choice of the best epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tasks.core.errors import ParamsError
from tasks.core.objective_sections import Objective, ObjectiveParams
from tasks.core.schema import Balance
from tasks.hardware.distributed import count
from tasks.objectives.adapt import adapt
from tasks.objectives.context import TrainingContext
from tasks.objectives.data import TrainingData
from tasks.objectives.defend import defend
from tasks.objectives.distil import distil
from tasks.objectives.requirements import check_objective_supported
from tasks.objectives.self_train import fixmatch, pseudo_label
from tasks.scorer.network import Network
from tasks.training.plan import TrainingPlan
from tasks.training.trainer import Trainer


@dataclass(frozen=True)
class Request:
    """The arguments of a planner: the plan for labeled images alone, the network, and the adaptation-loss weight."""

    context: TrainingContext
    methods: ObjectiveParams
    network: Network
    base: TrainingPlan
    epochs: int
    weight: float


Planned = tuple[Trainer, TrainingPlan]


def check_supported(data: TrainingData, objective: Objective, *, mixed: bool) -> None:
    """Raises ParamsError for unsupported combinations; `mixed`: whether mixup or CutMix is used."""
    check_objective_supported(objective, data.manifest, data.target)
    if objective is Objective.LABELS:
        return
    if mixed:
        raise ParamsError(
            f"finetune.mixup, finetune.cutmix: {objective} cannot mix images; set both to 0", key="finetune.mixup"
        )
    if objective in {Objective.DISTILLATION, Objective.PSEUDO_LABELS} and data.balance is Balance.SAMPLING:
        raise ParamsError(
            f"balance: {objective} uses every image once per epoch, without sampling; take weights or logits",
            key="balance",
        )
    if count() > 1:
        raise ParamsError(
            f"finetune.processes: {objective} needs whole batches in one process; set it to 1, without torchrun",
            key="finetune.processes",
        )


def build_plan(request: Request) -> Planned:
    """Returns the trainer and the plan of the objective.

    Raises ParamsError if a requirement of the objective is missing, and DataRefusedError if pseudo-labels fail their
    audit.
    """
    return PLANNERS[request.methods.objective](request)


def _labels(request: Request) -> Planned:
    return request.context.trainer, request.base


def _distillation(request: Request) -> Planned:
    return distil(request.context, request.methods, request.base)


def _pseudo_labels(request: Request) -> Planned:
    return pseudo_label(request.context, request.methods, request.network, request.base)


def _fixmatch(request: Request) -> Planned:
    return request.context.trainer, fixmatch(request.context, request.methods, request.base)


def _adaptation(request: Request) -> Planned:
    plan = adapt(request.context, request.methods, request.base, request.epochs, request.weight)
    return request.context.trainer, plan


def _defense(request: Request) -> Planned:
    return request.context.trainer, defend(request.context, request.methods, request.base)


PLANNERS: Mapping[Objective, Callable[[Request], Planned]] = {
    Objective.LABELS: _labels,
    Objective.DISTILLATION: _distillation,
    Objective.PSEUDO_LABELS: _pseudo_labels,
    Objective.FIXMATCH: _fixmatch,
    Objective.BATCHNORM: _adaptation,
    Objective.CORAL: _adaptation,
    Objective.DANN: _adaptation,
    Objective.MCC: _adaptation,
    Objective.PGD: _defense,
    Objective.FAST: _defense,
    Objective.TRADES: _defense,
}
