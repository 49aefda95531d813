"""Finetune: the head first, then the last blocks with it (LP-FT); beside it the same network from random weights."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from tasks.core.params import Section, StageParams
from tasks.core.paths import Paths
from tasks.core.schema import Balance
from tasks.core.sections import (
    AdversariesSection,
    BackboneParams,
    ComputeParams,
    DistillationSection,
    DomainSection,
    FinetuneSection,
    Objective,
    ScratchSection,
    TeacherParams,
    UnlabelledSection,
)


class FinetuneParams(StageParams):
    """What finetune reads of params.yaml."""

    seed: int
    balance: Balance
    objective: Objective
    backbone: BackboneParams
    teacher: TeacherParams
    compute: ComputeParams
    finetune: FinetuneSection
    scratch: ScratchSection
    distillation: DistillationSection
    unlabelled: UnlabelledSection
    domain: DomainSection
    adversaries: AdversariesSection

    @model_validator(mode="after")
    def _learns_statistics(self) -> Self:
        fit = self.finetune
        if self.objective is Objective.BATCHNORM and (fit.batchnorm == "frozen" or fit.unfreeze or not fit.epochs):
            raise ValueError(
                "objective: batchnorm re-estimates statistics that the blocks learned with: set finetune.batchnorm to "
                "training, finetune.unfreeze to 0 and finetune.epochs to 1 or more"
            )
        return self

    @model_validator(mode="after")
    def _reaches_the_radius(self) -> Self:
        grow, fit = self.adversaries.grow, self.finetune
        for name, least in (("epochs", fit.epochs), ("patience", fit.patience)):
            if self.objective.has_adversary and grow >= least > 0:
                raise ValueError(
                    f"adversaries.grow: the radius grows for {grow} epochs, but finetune.{name} is {least}, so that a "
                    f"fit could end before; set finetune.{name} to more than {grow}"
                )
        return self


class FinetuneReport(Section):
    """Steps and seconds of both models, the epoch whose weights were kept, and what the objective has to tell."""

    steps: int
    best_epoch: int
    validation_score: float
    seconds_tuned: float
    seconds_scratch: float
    more: dict[str, float]


def finetune(paths: Paths, params: FinetuneParams) -> FinetuneReport:
    """Writes both networks and their curves.

    Raises RootstockError if a loss is not finite, ParamsError for what the objective lacks, and DataRefusedError for
    pseudo-labels that fail their audit.
    """
    from tasks.core.supervision import torchrun_size
    from tasks.hardware.device import processes_for
    from tasks.hardware.distributed import spawn_workers, torchrun_group

    if torchrun_size():
        with torchrun_group(params.compute.device):
            return learn(paths, params)
    wanted = params.finetune.processes
    if params.objective is not Objective.LABELS:
        wanted = wanted or 1  # others take whole batches
    processes = processes_for(wanted, params.compute.device)
    if processes == 1:
        return learn(paths, params)
    return FinetuneReport.model_validate_json(spawn_workers(processes, params.compute.device, learned, paths, params))


def learned(paths: Paths, params: FinetuneParams) -> str:
    """The report of `learn`, as processes hand it on."""
    return learn(paths, params).model_dump_json()


def learn(paths: Paths, params: FinetuneParams) -> FinetuneReport:
    """What `finetune` does, in one process or in one of several."""
    import torchvision  # noqa: F401 - imported here, so that its two seconds are not the stage's own

    from tasks.core.schema import Curve
    from tasks.core.sections import Methods
    from tasks.objectives.context import build_context
    from tasks.objectives.finetuning import conclude, from_scratch, last_of, tune

    section = params.finetune
    context = build_context(
        paths,
        params.backbone,
        params.compute,
        section.batch,
        last_of(section),
        balance=params.balance,
        key=params.model_dump_json(),
    )
    methods = Methods(**{name: getattr(params, name) for name in Methods.model_fields})
    tuned, numbers = tune(context, section, methods, params.seed)
    seconds = 0.0
    if params.scratch.run and tuned.steps:  # without a step there is nothing to compare with
        seconds = from_scratch(context, params.backbone, section, params.scratch.rate, tuned, params.seed)
    conclude(paths, context.data.target, tuned)
    return FinetuneReport(
        steps=tuned.steps,
        best_epoch=int(tuned.best[Curve.EPOCH]),
        validation_score=tuned.best[Curve.VALIDATION_SCORE],
        seconds_tuned=tuned.seconds,
        seconds_scratch=seconds,
        more=numbers,
    )
