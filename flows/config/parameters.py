"""The sections of params.yaml that the flows read, and the check of the whole file before anything runs."""

from __future__ import annotations

from importlib import import_module
from inspect import get_annotations
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator
from ruamel.yaml.comments import CommentedMap

from tasks.core.errors import ParamsError
from tasks.core.near_names import did_you_mean
from tasks.core.objective_sections import Objective, TeacherParams, UnlabeledSection
from tasks.core.params import PARAMS_FILE, Section, StageParams, read_document
from tasks.core.paths import Paths
from tasks.core.schema import STAGES, Metric
from tasks.core.sections import BackboneParams, Background, EvaluateSection, MaxPixels, WhiteLevel, refuse_tuning

DIGITS, ROTATIONS = "digits", "rotations"  # values of data.source that name embedded data sets


class DataSection(Section):
    """The source of the images."""

    source: str = Field(
        min_length=1,
        description="digits, a folder, a .csv, .tsv, .jsonl or .parquet table, a .zip or .tar of these, or an address",
    )
    path: str | None = Field(min_length=1, description="a table's column of image paths; null: found by its name")
    label: str | None = Field(min_length=1, description="a table's column of labels; null: found by its name")
    labels: tuple[str, ...] = Field(description="columns of 0 and 1 of a table, one for each label of multi-label data")
    separator: str | None = Field(
        min_length=1,
        description="separates labels in a table's column label (quote a bar: '|'); null: one label per image",
    )
    targets: tuple[str, ...] = Field(description="numeric columns of a table to predict instead of labels")
    archive_limit: float = Field(gt=0, description="maximum size of an unpacked archive, in GiB")
    max_pixels: MaxPixels
    background: Background
    white_level: WhiteLevel

    @field_validator("labels", "targets")
    @classmethod
    def _different(cls, columns: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(columns)) < len(columns):
            raise ValueError("a column is named twice")
        return columns


class RegisterSection(Section):
    """The names of the model and the experiment in MLflow."""

    model: str = Field(pattern=r"^[^/:'\"]+$", description="name of the registered model, without / : and quotes")
    experiment: str = Field(min_length=1, description="name of the experiment")


class GateSection(Section):
    """The criteria that a model must meet to go live."""

    metric: Literal["auto", "macro_f1", "nll"] = Field(
        description="metric of the comparison with the live model; auto: accuracy, or mae for targets"
    )
    margin: float = Field(gt=0, description="tolerated loss against the live model")
    error: float = Field(gt=0, le=0.5, description="probability that a model which loses the whole margin passes")
    group_margin: float = Field(gt=0, le=1, description="tolerated loss of accuracy in a class or slice")
    person_decides: bool = Field(
        description="whether a person may promote a model that has too few test images to decide"
    )
    floors: dict[Metric, float] = Field(description="scores that a model must reach, regardless of the live model")


class PredictSection(Section):
    """The model that make predict uses."""

    model: str = Field(min_length=1, description="alias or number of a registered version")


class RunSection(Section):
    """The supervision of stages."""

    timeout: float | None = Field(gt=0, description="time limit of a stage, in seconds; null: none")
    stall: float = Field(gt=0, description="seconds after which a stage that neither writes nor computes is stopped")
    retries: int = Field(ge=0, le=10, description="restarts of a stage after a crash")
    slot: str | None = Field(description="Prefect concurrency limit that a stage holds while it computes; null: none")


class RetentionSection(Section):
    """What make prune keeps besides versions with an alias."""

    keep_lives: int = Field(ge=0, description="versions that were live before the present one, for make rollback")
    keep_days: int = Field(ge=1, description="days for which every version and every run is kept")


class UpSection(Section):
    """The servers of make up."""

    shared: bool = Field(
        description="whether MLflow asks for a login, since other people have accounts on this machine"
    )


class ServeSection(Section):
    """The server of make serve."""

    host: str = Field(min_length=1, description="address to listen at; other than loopback needs a token")
    port: int = Field(ge=0, le=65535, description="port to listen at; 0: any free one")
    workers: int = Field(ge=1, le=64, description="processes that answer; they share the cores")
    spares: int = Field(ge=0, le=8, description="more processes that have imported PyTorch, for the next version")
    queue: int = Field(ge=0, description="requests that wait for a worker before others are refused (503)")
    seconds: float = Field(gt=0, description="longest time to answer a request (504)")
    max_mib: int = Field(ge=1, le=1024, description="largest body of a request, in MiB (413)")
    max_pixels: int = Field(ge=1, description="most pixels of a picture")
    max_images: int = Field(ge=1, description="most pictures of a request (413)")
    with_up: bool = Field(description="whether make up starts it as well")

    @model_validator(mode="after")
    def _address_is_fixed(self) -> Self:
        if self.with_up and not self.port:
            raise ValueError("serve.with_up: make up needs a fixed serve.port, and it is 0")
        return self

    @property
    def address(self) -> str:
        """Returns the address for clients on this machine."""
        return f"http://{self.host}:{self.port}"


class PretrainSection(Section):
    """The pretraining of the embedded backbone."""

    glyphs: int = Field(ge=1000, description="characters rendered per epoch, all of them new")
    epochs: int = Field(ge=1)
    batch: int = Field(ge=8, description="characters per optimizer step")
    side: int = Field(ge=16, description="side of the network's input, in pixels")
    rate: float = Field(gt=0, description="AdamW's learning rate")
    warmup: float = Field(ge=0, lt=1, description="warmup, as a fraction of the steps")
    weight_decay: float = Field(ge=0)
    draws: int = Field(ge=2, description="random draws of labeled digits for the linear probe")


class CompareSection(Section):
    """The data sets and models that make compare uses, each a named set of overrides by dotted name."""

    seeds: tuple[int, ...] = Field(min_length=1, description="each model is trained on each data set with each seed")
    data: dict[str, dict[str, Any]] = Field(min_length=1, description="data sets")
    models: dict[str, dict[str, Any]] = Field(
        min_length=1, description="models; teacher.weights may be compare:<name>, an earlier model of this list"
    )
    against: str | None = Field(description="baseline model for the gains; null: none")

    @field_validator("against")
    @classmethod
    def _is_a_model(cls, against: str | None, info: ValidationInfo) -> str | None:
        models = info.data.get("models")  # absent if it is itself invalid
        if against is not None and models is not None and against not in models:
            raise ValueError(f"there is no model {against}; there are {', '.join(models)}")
        return against


class FlowParams(StageParams):
    """All sections of params.yaml that the flows read."""

    data: DataSection
    backbone: BackboneParams
    objective: Objective
    unlabelled: UnlabeledSection
    teacher: TeacherParams
    register_: RegisterSection = Field(alias="register")
    evaluate: EvaluateSection
    gate: GateSection
    predict: PredictSection
    run: RunSection
    retention: RetentionSection
    up: UpSection
    serve: ServeSection
    pretrain: PretrainSection
    compare: CompareSection
    paths: Paths
    presets: dict[str, dict[str, Any]] = Field(description="named sets of overrides by dotted name")


def stage_params(stage: str) -> type[StageParams]:
    """Returns the class of a stage's parameters, read from its signature."""
    function = getattr(import_module(f"tasks.{stage}"), stage)
    params: type[StageParams] = get_annotations(function, eval_str=True)["params"]
    return params


def load(file: Path = PARAMS_FILE) -> FlowParams:
    """Reads params.yaml, checks all of it, and returns the flows' parameters. Raises ParamsError if it is invalid."""
    return check(read_document(file), file)


def check(document: CommentedMap, file: Path = PARAMS_FILE) -> FlowParams:
    """Checks every section and returns the sections that the flows read.

    Raises ParamsError, with the line and a remedy, for a wrong, missing or unknown key.
    """
    classes: list[type[StageParams]] = [FlowParams, *(stage_params(stage) for stage in STAGES)]
    sections = {key.partition(".")[0] for params in classes for key in params.sections()}
    for key in document:
        if key not in sections:
            line = document.lc.key(key)[0] + 1
            remedy = did_you_mean(key, sections) or f"; the sections are {', '.join(sorted(sections))}"
            message = f"{file} line {line}: there is no section {key}{remedy}"
            raise ParamsError(message, key=key)
    for params in classes:
        params.of(document, file)
    refuse_tuning(document["head"]["kind"], document["finetune"]["epochs"])
    return FlowParams.of(document, file)
