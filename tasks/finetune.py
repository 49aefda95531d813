"""Finetune: the head first, then the last blocks with it (LP-FT); beside it the same network from random weights."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from tasks.core.params import Section, StageParams
from tasks.core.paths import Paths
from tasks.core.schema import Balance
from tasks.core.sections import (
    AdversariesSection,
    BackboneParams,
    ComputeParams,
    DistillationSection,
    DomainSection,
    Objective,
    TeacherParams,
    UnlabelledSection,
)


class FinetuneSection(Section):
    """How the last blocks learn; the rates are AdamW's."""

    blocks: int = Field(ge=0, description="last blocks of the backbone that learn with the head")
    layers: int | None = Field(ge=0, description="count single layers instead, as Keras does; null: blocks")
    unfreeze: int = Field(ge=0, description="epochs until one more block learns, from the last; 0: all at once")
    epochs: int = Field(ge=0, description="passes over the training images, a view each; 0: the probe as it is")
    batch: int = Field(ge=2, description="images an optimiser step")
    parts: int = Field(ge=1, description="parts that a batch is computed in, where memory is short")
    rate: float = Field(gt=0, description="learning rate of the last block")
    head_rate: float = Field(gt=0, description="learning rate of the head")
    decay: float = Field(gt=0, le=1, description="factor of the rate from each block to the one before it")
    weight_decay: float = Field(ge=0)
    warmup: float = Field(ge=0, lt=1, description="fraction of the steps")
    clip: float = Field(ge=0, description="longest gradient; 0: any")
    patience: int = Field(
        ge=1, description="epochs without a lower validation loss before it stops; of classes, at the best temperature"
    )
    average: float = Field(ge=0, lt=1, description="decay of the weights' moving average; 0: none")
    batchnorm: Literal["frozen", "training"] = Field(
        description="frozen: the learning blocks keep their statistics too"
    )
    dropout: float | None = Field(ge=0, lt=1, description="chance; null: inactive outside of the learning blocks")
    stochastic_depth: float | None = Field(ge=0, lt=1, description="chance in the last block; null: as it is built")
    smoothing: float = Field(ge=0, lt=1, description="share of the truth that is spread over all classes")
    mixup: float = Field(ge=0, description="alpha of the share of two pictures in one; 0: never")
    cutmix: float = Field(ge=0, description="alpha of the area of one picture in another; 0: never")
    processes: int = Field(ge=0, description="that share a fit; 0: one for each GPU, and one without")
    cache: float = Field(ge=0, description="GiB on disk for what the frozen blocks give; 0: computed in each epoch")
    compile: bool = Field(description="whether what learns is compiled (torch.compile); for long fits")


class ScratchSection(Section):
    """The baseline: the same network from random weights, as many optimiser steps."""

    run: bool = Field(description="whether to train it")
    rate: float = Field(gt=0, description="learning rate of all layers")


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
    from tasks.hardware.distributed import joined, spread

    if torchrun_size():
        with joined(params.compute.device):
            return learn(paths, params)
    wanted = params.finetune.processes
    if params.objective is not Objective.LABELS:
        wanted = wanted or 1  # others take whole batches
    processes = processes_for(wanted, params.compute.device)
    if processes == 1:
        return learn(paths, params)
    return FinetuneReport.model_validate_json(spread(processes, params.compute.device, learned, paths, params))


def learned(paths: Paths, params: FinetuneParams) -> str:
    """The report of `learn`, as processes hand it on."""
    return learn(paths, params).model_dump_json()


def learn(paths: Paths, params: FinetuneParams) -> FinetuneReport:
    """What `finetune` does, in one process or in one of several."""
    import torchvision  # noqa: F401 - imported here, so that its two seconds are not the stage's own

    from tasks.core.schema import Curve
    from tasks.core.sections import Methods
    from tasks.objectives import context as settings
    from tasks.objectives import finetuning as tuning

    section = params.finetune
    how = section.model_dump()
    setting = settings.prepare(
        paths,
        params.backbone,
        params.compute,
        section.batch,
        tuning.last_of(how),
        balance=params.balance,
        key=params.model_dump(mode="json"),
    )
    methods = Methods(**{name: getattr(params, name) for name in Methods.model_fields})
    tuned, more = tuning.tune(setting, how, methods, params.seed)
    seconds = 0.0
    if params.scratch.run and tuned.steps:  # without a step there is nothing to compare with
        seconds = tuning.from_scratch(setting, params.backbone, how, params.scratch.rate, tuned, params.seed)
    tuning.conclude(setting, paths, tuned)
    return FinetuneReport(
        steps=tuned.steps,
        best_epoch=int(tuned.best[Curve.EPOCH]),
        validation_score=tuned.best[Curve.VALIDATION_SCORE],
        seconds_tuned=tuned.seconds,
        seconds_scratch=seconds,
        more=more,
    )
