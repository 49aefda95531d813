"""Finetune: trains the last blocks with the fitted head (LP-FT, Kumar et al., 2022), and a baseline from scratch."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from tasks.core.objective_sections import (
    AdversariesSection,
    DistillationSection,
    DomainSection,
    Objective,
    TeacherParams,
    UnlabeledSection,
)
from tasks.core.params import Section, StageParams
from tasks.core.paths import Paths
from tasks.core.schema import Balance
from tasks.core.sections import BackboneParams, ComputeParams, FinetuneSection, ScratchSection


class FinetuneParams(StageParams):
    """The parameters that finetune reads."""

    seed: int
    balance: Balance
    objective: Objective
    backbone: BackboneParams
    teacher: TeacherParams
    compute: ComputeParams
    finetune: FinetuneSection
    scratch: ScratchSection
    distillation: DistillationSection
    unlabelled: UnlabeledSection
    domain: DomainSection
    adversaries: AdversariesSection

    @model_validator(mode="after")
    def _searches_on_labels(self) -> Self:
        if self.finetune.recipe == "search" and self.objective is not Objective.LABELS:
            raise ValueError(
                "finetune.recipe: only the objective labels has recipes to search; set it to fixed or auto"
            )
        return self

    @model_validator(mode="after")
    def _learns_statistics(self) -> Self:
        fit = self.finetune
        if self.objective is Objective.BATCHNORM and (fit.batchnorm == "frozen" or fit.unfreeze or not fit.epochs):
            raise ValueError(
                "objective: batchnorm re-estimates the statistics of trained blocks; set finetune.batchnorm to "
                "training, finetune.unfreeze to 0 and finetune.epochs to 1 or more"
            )
        return self

    @model_validator(mode="after")
    def _reaches_the_radius(self) -> Self:
        grow, fit = self.adversaries.grow, self.finetune
        for name, limit in (("epochs", fit.epochs), ("patience", fit.patience)):
            if self.objective.has_adversary and grow >= limit > 0:
                raise ValueError(
                    f"adversaries.grow: the radius grows for {grow} epochs, but finetune.{name} is {limit}, so the fit "
                    f"could end earlier; set finetune.{name} to more than {grow}"
                )
        return self


class FinetuneReport(Section, allow_inf_nan=True):
    """Steps, an epoch and a score, both models' training times in seconds, and objective-specific numbers.

    The epoch is the kept one, or the last one if a point between it and the probe is kept, which has the score. The
    recipe is the kept one of a search, "probe" or "fixed".
    """

    steps: int
    best_epoch: int
    validation_score: float
    seconds_tuned: float
    seconds_scratch: float
    recipe: str
    more: dict[str, float]


def finetune(paths: Paths, params: FinetuneParams) -> FinetuneReport:
    """Writes both networks and their training curves.

    Raises RootstockError if a loss is not finite, ParamsError if a requirement of the objective is missing, and
    DataRefusedError if pseudo-labels fail their audit.
    """
    from tasks.core.supervision import torchrun_size
    from tasks.hardware.device import processes_for
    from tasks.hardware.distributed import spawn_workers, torchrun_group
    from tasks.objectives.requirements import check_search_installed

    check_search_installed(params.objective, params.unlabelled)
    if torchrun_size():
        with torchrun_group(params.compute.device):
            return learn(paths, params)
    requested = params.finetune.processes
    if params.objective is not Objective.LABELS:
        requested = requested or 1  # other objectives need whole batches
    processes = processes_for(requested, params.compute.device)
    if processes == 1:
        return learn(paths, params)
    report = spawn_workers(processes, params.compute.device, learn_as_json, paths, params)
    return FinetuneReport.model_validate_json(report)


def learn_as_json(paths: Paths, params: FinetuneParams) -> str:
    """Runs `learn` and returns its report as JSON, for transfer between processes."""
    return learn(paths, params).model_dump_json()


def learn(paths: Paths, params: FinetuneParams) -> FinetuneReport:
    """Trains both networks, in this process alone or as one of several processes."""
    import torchvision  # noqa: F401 - imported before the stage's time is measured

    from tasks.core.objective_sections import ObjectiveParams
    from tasks.core.schema import Curve
    from tasks.objectives.context import build_context
    from tasks.objectives.finetuning import check_tunable, conclude, from_scratch, tune
    from tasks.objectives.plans import last_of
    from tasks.objectives.recipes import is_searched
    from tasks.objectives.search import search

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
    methods = ObjectiveParams(**{name: getattr(params, name) for name in ObjectiveParams.model_fields})
    check_tunable(context, section, params.objective)
    if is_searched(section, params.objective, context.backbone.architecture):
        tuned, numbers = search(context, section, params.seed)
    else:
        tuned, numbers = tune(context, section, methods, params.seed)
    seconds = 0.0
    if params.scratch.run and tuned.steps:  # without any step, there is nothing to compare
        seconds = from_scratch(context, params.backbone, section, params.scratch.rate, tuned, params.seed)
    conclude(paths, context.data.target, tuned)
    return FinetuneReport(
        steps=tuned.steps,
        best_epoch=int(tuned.best[Curve.EPOCH]),
        validation_score=tuned.best[Curve.VALIDATION_SCORE],
        seconds_tuned=tuned.seconds,
        seconds_scratch=seconds,
        recipe=tuned.recipe or "fixed",
        more=numbers,
    )
