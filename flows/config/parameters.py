"""params.yaml as the flows read it; and all of it, checked before anything runs."""

from __future__ import annotations

from importlib import import_module
from inspect import get_annotations
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator
from ruamel.yaml.comments import CommentedMap

from tasks.core.errors import ParamsError
from tasks.core.params import PARAMS_FILE, Section, StageParams, read_document
from tasks.core.paths import Paths
from tasks.core.schema import STAGES, Metric
from tasks.core.sections import BackboneParams, EvaluateSection, Objective, TeacherParams, refuse_tuning

DIGITS, ROTATIONS = "digits", "rotations"  # embedded data


class DataSection(Section):
    """Where images come from."""

    source: str = Field(
        min_length=1, description="digits, a folder, a .csv or .parquet table, or a .zip or .tar of these"
    )
    separator: str | None = Field(
        min_length=1,
        description="stands between labels in a table's column label (a bar is quoted: '|'); null: an image has one",
    )
    targets: tuple[str, ...] = Field(description="columns of numbers of a table to predict, instead of its labels")
    archive_limit: float = Field(gt=0, description="GiB that an archive may unpack to")

    @field_validator("targets")
    @classmethod
    def _different(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(targets)) < len(targets):
            raise ValueError("a column is named twice")
        return targets


class RegisterSection(Section):
    """Where MLflow keeps runs and models."""

    model: str = Field(pattern=r"^[^/:'\"]+$", description="the registered model's name, without / : and quotes")
    experiment: str = Field(min_length=1, description="the experiment's name")


class GateSection(Section):
    """Whether a model may go live."""

    metric: Literal["auto", "macro_f1", "nll"] = Field(
        description="compared with the live model; auto: accuracy, or the mae of targets"
    )
    margin: float = Field(gt=0, description="loss against the live model that is tolerated")
    error: float = Field(gt=0, le=0.5, description="chance that a model which loses the whole margin passes")
    group_margin: float = Field(gt=0, le=1, description="loss of accuracy that is tolerated in a class or slice")
    resamples: int = Field(ge=100, description="paired bootstrap resamples, for all but accuracy")
    person_decides: bool = Field(description="whether a person's word is enough where the images are too few to tell")
    floors: dict[Metric, float] = Field(description="scores that a model must reach whatever the live one does")


class PredictSection(Section):
    """Which model answers."""

    model: str = Field(min_length=1, description="an alias or a number of a registered version")


class RunSection(Section):
    """How stages are supervised."""

    timeout: float = Field(gt=0, allow_inf_nan=False, description="seconds a stage may take")
    retries: int = Field(ge=0, le=10, description="times that a stage is started again after a crash")
    slot: str | None = Field(description="a Prefect concurrency limit that stages take while they compute; null: none")


class PretrainSection(Section):
    """How the embedded backbone is made."""

    glyphs: int = Field(ge=1000, description="characters rendered in an epoch, all of them new")
    epochs: int = Field(ge=1)
    batch: int = Field(ge=8, description="characters in an optimiser step")
    side: int = Field(ge=16, description="pixels of the network's input")
    rate: float = Field(gt=0, description="AdamW's learning rate")
    warmup: float = Field(ge=0, lt=1, description="fraction of the steps")
    weight_decay: float = Field(ge=0)
    draws: int = Field(ge=2, description="random draws of labelled digits that it is measured on")


class CompareSection(Section):
    """What make compare compares: overrides by dotted name, each set of them with a name."""

    seeds: tuple[int, ...] = Field(min_length=1, description="each model learns on each data set by each of them")
    against: str | None = Field(description="the model that the others' gain is told over; null: none")
    data: dict[str, dict[str, Any]] = Field(min_length=1, description="data sets")
    models: dict[str, dict[str, Any]] = Field(
        min_length=1, description="models; teacher.weights may be compare:<name>, one that stands before it"
    )

    @model_validator(mode="after")
    def _knows_against(self) -> Self:
        if self.against is not None and self.against not in self.models:
            raise ValueError(f"compare.against: there is no model {self.against}; known are {', '.join(self.models)}")
        return self


class FlowParams(StageParams):
    """What the flows read of params.yaml."""

    data: DataSection
    backbone: BackboneParams
    objective: Objective
    teacher: TeacherParams
    register_: RegisterSection = Field(alias="register")
    evaluate: EvaluateSection
    gate: GateSection
    predict: PredictSection
    run: RunSection
    pretrain: PretrainSection
    compare: CompareSection
    paths: Paths
    presets: dict[str, dict[str, Any]] = Field(description="overrides by dotted name, with a name")


def stage_params(stage: str) -> type[StageParams]:
    """The class of a stage's parameters, as its signature says."""
    function = getattr(import_module(f"tasks.{stage}"), stage)
    params: type[StageParams] = get_annotations(function, eval_str=True)["params"]
    return params


def load(file: Path = PARAMS_FILE) -> FlowParams:
    """What the flows read, after all of params.yaml was checked."""
    return check(read_document(file), file)


def check(document: CommentedMap, file: Path = PARAMS_FILE) -> FlowParams:
    """Every section, typed. Raises ParamsError naming line and remedy of what is wrong, missing or unknown."""
    classes: list[type[StageParams]] = [FlowParams, *(stage_params(stage) for stage in STAGES)]
    known = {key for params in classes for key in params.sections()}
    for key in document:
        if key not in known:
            line = document.lc.key(key)[0] + 1
            raise ParamsError(f"{file} line {line}: nothing reads {key}; known are {', '.join(sorted(known))}")
    for params in classes:
        params.of(document, file)
    refuse_tuning(document["head"]["kind"], document["finetune"]["epochs"])
    return FlowParams.of(document, file)
