"""The sections of params.yaml that say what fine-tuning learns from, beside or instead of labels."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field

from tasks.core.errors import ParamsError
from tasks.core.files import read_json, write_json
from tasks.core.params import Section


class DistillationSection(Section):
    """How a teacher's answers are learned."""

    temperature: float = Field(gt=0, description="of both softened distributions")
    labels: float = Field(ge=0, le=1, description="share of the labels' own loss, on what is labelled")
    features: float = Field(ge=0, description="weight of the distance between features; 0: they are not matched")
    margin: float = Field(ge=0, description="how far below the teacher's validation score is as good")
    agreement: float = Field(ge=0, le=1, description="share of equal answers, on validation, that is enough")


class UnlabelledSection(Section):
    """How confident answers on unlabelled images become labels."""

    threshold: float = Field(ge=0, lt=1, description="calibrated probability from which an answer is trusted")
    adaptive: bool = Field(description="classes that are learned badly so far have a lower one, up to it (FlexMatch)")
    align: bool = Field(description="answers are tilted towards the classes' shares among the labels (ReMixMatch)")
    neighbours: int = Field(
        ge=0, description="nearest in feature space, that labels spread over; 0: the model is asked (pseudo_labels)"
    )
    rounds: int = Field(ge=1, description="times that unlabelled images are labelled, by the model as it is then")
    quota: int = Field(ge=0, description="most images of a class that are labelled, the surest; 0: all (pseudo_labels)")
    precision: float = Field(ge=0, le=1, description="that trusted answers must have on held-out labelled images")
    ratio: float = Field(gt=0, description="unlabelled images beside each labelled one in a batch")
    weight: float = Field(gt=0, description="of the loss on unlabelled images")
    strong: Literal["none", "rand", "trivial", "augmix"] = Field(description="automatic policy of the strong view")
    stronger: float = Field(ge=1, description="times the shift, scale, rotation and colour of the strong view")


class DomainSection(Section):
    """How a labelled domain's model is adapted to an unlabelled one."""

    weights: tuple[float, ...] = Field(min_length=1, description="of the adaptation's loss; the best one is chosen")
    chosen_by: Literal["information", "neighbourhood"] = Field(description="epoch and weight, without target labels")
    oracle: bool = Field(description="whether the test images' labels are looked at in each epoch, for the report")


class AdversariesSection(Section):
    """The adversary's budget, and what defence may cost."""

    norm: Literal["linf", "l2"] = Field(description="what the radius is measured in")
    radius: float = Field(gt=0, description="most change, of pixels from 0 to 1")
    steps: int = Field(ge=1, description="of the attack in training; the fast objective takes one")
    grow: int = Field(ge=0, description="epochs over which the radius grows in training; 0: it is what it is")
    beta: float = Field(gt=0, description="weight of steadiness against accuracy (trades)")
    clean: float = Field(ge=0, description="loss of validation score without an attack that is accepted")


class Methods(Section):
    """What fine-tuning learns from, the teacher that it may ask, and how each method goes about it."""

    objective: Objective
    teacher: TeacherParams
    distillation: DistillationSection
    unlabelled: UnlabelledSection
    domain: DomainSection
    adversaries: AdversariesSection


NO_TEACHER = "teacher.weights: there is no teacher; name models:/rootstock@live, a weights file or torchvision:DEFAULT"


class BackboneParams(Section):
    """The pretrained network that features come from."""

    architecture: str = Field(description="resnet10 (embedded), resnet8, resnet20, or a torchvision classifier")
    weights: str = Field(description="a .safetensors or .pth file, torchvision:DEFAULT, models:/name@alias, or random")
    match: Literal["strict", "names"] = Field(
        description="names: parameters with the same name and shape are taken, others drawn at random"
    )
    cut: Literal["layer", "classifier"] = Field(
        description="what the head replaces: the last layer, or the whole classifier (Keras's include_top=False)"
    )
    resize: int | None = Field(ge=8, description="pixels of the shorter side; null: as the weights say")
    crop: int | None = Field(ge=8, description="pixels of the centre square; null: as the weights say")
    letterbox: bool = Field(description="whole pictures, with black bars, instead of their centre square")


class Objective(StrEnum):
    """What fine-tuning learns from."""

    LABELS = "labels"
    DISTILLATION = "distillation"
    PSEUDO_LABELS = "pseudo_labels"
    FIXMATCH = "fixmatch"
    BATCHNORM = "batchnorm"
    CORAL = "coral"
    DANN = "dann"
    MCC = "mcc"
    PGD = "pgd"
    FAST = "fast"
    TRADES = "trades"

    @property
    def has_teacher(self) -> bool:
        """Whether a big model may be asked."""
        return self in {Objective.DISTILLATION, Objective.PSEUDO_LABELS}

    @property
    def has_adversary(self) -> bool:
        """Whether pictures are changed for the worse."""
        return self in {Objective.PGD, Objective.FAST, Objective.TRADES}


class TeacherParams(Section):
    """The big model that another one learns from."""

    architecture: str | None = Field(description="of weights that do not say it: a torchvision classification model")
    weights: str | None = Field(
        description="models:/name@alias, a weights file or torchvision:DEFAULT; null: there is no teacher"
    )
    resize: int | None = Field(ge=8, description="pixels of the shorter side; null: as the weights say")
    crop: int | None = Field(ge=8, description="pixels of the centre square; null: as the weights say")


class ComputeParams(Section):
    """How numbers are computed. Evaluation and serving are always float32."""

    device: Literal["auto", "cpu", "cuda", "mps"] = Field(description="auto: CUDA, else MPS, else CPU")
    precision: Literal["auto", "float32", "bfloat16"] = Field(description="auto: bfloat16 where faster")
    batch: int = Field(ge=1, description="images in one forward pass")
    memory: float = Field(
        gt=0, description="GiB of decoded images kept between epochs; beyond it they are decoded again"
    )


def refuse_tuning(kind: str, epochs: int) -> None:
    """Raises ParamsError for a head that has nothing to fine-tune."""
    if kind == "knn" and epochs:
        raise ParamsError("a knn head has nothing to fine-tune: set finetune.epochs to 0, or take another head.kind")


Count = Annotated[int, Field(ge=1)]


class HeadSection(Section):
    """The head on the frozen backbone."""

    kind: Literal["linear", "dense", "prototype", "knn"]
    start: Literal["zero", "earlier"] = Field(
        description="of a linear head; earlier: the head of the model that backbone.weights names, its classes' rows"
    )
    strengths: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...] = Field(
        min_length=1, description="penalties to choose from, on validation loss; of a linear or dense head"
    )
    hidden: int = Field(ge=1, description="units of a dense head's hidden layer")
    grow: tuple[Count, ...] = Field(description="units that a dense head has before it grows to hidden")
    rate: float = Field(gt=0, description="AdamW's learning rate of a dense head")
    epochs: int = Field(ge=1, description="passes over the features, of a dense head; of each step of its growth")
    batch: int = Field(ge=1, description="rows an optimiser step, of a dense head")
    neighbours: tuple[Count, ...] = Field(min_length=1, description="numbers to choose from, of a knn head")


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


class AugmentSection(Section):
    """The policy: how far a view may differ from its picture."""

    views: int = Field(ge=1, le=1000, description="views of each training image, beside the clean one")
    shift: float = Field(ge=0, le=0.5, description="fraction of the side; uniform in +- this, both ways")
    scale: float = Field(ge=0, le=0.5, description="zoom; uniform in 1 +- this")
    flip: bool = Field(description="mirror left to right, half of the views")
    rotation: float = Field(ge=0, le=180, description="degrees; uniform in +- this")
    erase: float = Field(ge=0, le=1, description="chance that a square of 10 to 40% of the side is erased")
    automatic: Literal["none", "rand", "trivial", "augmix"] = Field(description="a policy of torchvision's, before it")
    colour: float = Field(ge=0, le=0.9, description="brightness, contrast and saturation; uniform in 1 +- this")
    fill: Literal["black", "edge", "mirror"] = Field(description="what lies outside of the picture")
    check: bool = Field(description="refuse a flip under which classes are taken for one another")


class AugmentPolicy(AugmentSection):
    """The resolved policy with the seed of its views, as augment writes it to policy.json."""

    seed: int

    @classmethod
    def of(cls, section: AugmentSection, seed: int) -> Self:
        """Completes a section by the seed."""
        return cls(**dict(section), seed=seed)

    @classmethod
    def read(cls, file: Path) -> Self:
        """Reads policy.json."""
        return cls.model_validate(read_json(file))

    def write(self, file: Path) -> None:
        """Writes policy.json."""
        fields = self.model_dump()
        write_json(file, {"seed": fields.pop("seed"), **fields})


Positive = Annotated[float, Field(gt=0)]


class CorruptionsSection(Section):
    """Strengths at which the model is tried; none: not tried."""

    shift: tuple[float, ...] = Field(description="fractions of the side, diagonally")
    scale: tuple[Positive, ...] = Field(description="zooms")
    flip: tuple[float, ...] = Field(description="1: left to right")
    rotation: tuple[float, ...] = Field(description="degrees, clockwise and back by turns")
    noise: tuple[Positive, ...] = Field(description="standard deviations; white is 1")
    blur: tuple[Positive, ...] = Field(description="standard deviations; fractions of the side")
    jpeg: tuple[Annotated[float, Field(ge=1, le=95)], ...] = Field(description="qualities, 1 to 95")


class EvaluateSection(Section):
    """How scores are made."""

    bins: int = Field(ge=2, description="bins of confidence in the calibration error")
    resamples: int = Field(ge=100, description="bootstrap resamples behind each interval but accuracy's")
    wrong: int = Field(ge=1, description="most wrong images on the sheet")
    risk: float = Field(gt=0, lt=1, description="share of wrong answers that is accepted among those given")
    slices: tuple[str, ...] = Field(description="columns of the manifest whose values are scored apart")
    corrupted: int = Field(ge=0, description="test images that corruptions are tried on; 0: none")
    attacked: int = Field(ge=0, description="test images that AutoAttack is tried on, within adversaries; 0: none")
    corruptions: CorruptionsSection
