"""The sections of params.yaml that say what fine-tuning learns from, beside or instead of labels."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.core.params import Objective, Section, TeacherParams


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
