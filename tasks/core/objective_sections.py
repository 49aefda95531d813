"""The sections of params.yaml for the objective: the source of supervision, and the settings of each method."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from tasks.core.params import Section

NeighborSearch = Literal["exact", "index"]

NO_TEACHER = "teacher.weights: there is no teacher; set models:/rootstock@live, a weights file or torchvision:DEFAULT"


class Objective(StrEnum):
    """The fine-tuning objective."""

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
        """Returns whether the objective can use a teacher."""
        return self in {Objective.DISTILLATION, Objective.PSEUDO_LABELS}

    @property
    def has_adversary(self) -> bool:
        """Returns whether the objective is adversarial training."""
        return self in {Objective.PGD, Objective.FAST, Objective.TRADES}


class TeacherParams(Section):
    """The teacher, usually a larger model, whose predictions the student is trained on."""

    architecture: str | None = Field(
        description="a torchvision classification model, if the weights do not name their architecture"
    )
    weights: str | None = Field(
        description="models:/name@alias, a weights file or torchvision:DEFAULT; null: there is no teacher"
    )
    resize: int | None = Field(ge=8, description="pixels of the shorter side; null: the weights' default")
    crop: int | None = Field(ge=8, description="pixels of the center square; null: the weights' default")


class DistillationSection(Section):
    """Knowledge distillation."""

    temperature: float = Field(gt=0, description="of the softened distributions of teacher and student")
    labels: float = Field(ge=0, le=1, description="share of the loss on labels, for labeled images")
    features: float = Field(ge=0, description="weight of the feature-matching loss; 0: features are not matched")
    margin: float = Field(ge=0, description="tolerated gap to the teacher's validation score before stopping")
    agreement: float = Field(ge=0, le=1, description="agreement with the teacher, on validation, required to stop")


class UnlabeledSection(Section):
    """Semi-supervised learning: how predictions on unlabeled images become pseudo-labels."""

    threshold: float = Field(ge=0, lt=1, description="lowest calibrated confidence of a trusted prediction")
    adaptive: bool = Field(description="lower the threshold for classes that are learned more slowly (FlexMatch)")
    align: bool = Field(description="align predictions with the class distribution of the labels (ReMixMatch)")
    neighbours: int = Field(
        ge=0,
        description="neighbors in feature space for label propagation; 0: the model's predictions (pseudo_labels)",
    )
    search: NeighborSearch = Field(
        description="of these neighbors: exact, or index: approximate, after make neighbors (pseudo_labels)"
    )
    rounds: int = Field(ge=1, description="rounds of pseudo-labeling, each with the latest model (pseudo_labels)")
    quota: int = Field(ge=0, description="pseudo-labels per class, the most confident first; 0: all (pseudo_labels)")
    precision: float = Field(ge=0, le=1, description="lowest precision of trusted predictions on held-out labels")
    ratio: float = Field(gt=0, description="unlabeled images per labeled image in a batch")
    weight: float = Field(gt=0, description="weight of the loss on unlabeled images")
    strong: Literal["none", "rand", "trivial", "augmix"] = Field(description="augmentation policy of the strong view")
    stronger: float = Field(ge=1, description="factor on shift, scale, rotation and color in the strong view")


class DomainSection(Section):
    """Unsupervised domain adaptation from the labeled to the unlabeled domain."""

    weights: tuple[float, ...] = Field(min_length=1, description="candidate weights of the adaptation loss")
    chosen_by: Literal["information", "neighbourhood"] = Field(
        description="criterion for epoch and weight, computed without target labels"
    )
    oracle: bool = Field(description="also score the labeled test images in each epoch, for the report only")


class AdversariesSection(Section):
    """Adversarial training: the attack's budget, and how much clean accuracy it may cost."""

    norm: Literal["linf", "l2"] = Field(description="norm of the perturbation")
    radius: float = Field(gt=0, description="largest perturbation, with pixels in [0, 1]")
    steps: int = Field(ge=1, description="steps of the attack in training and validation; fast trains with one")
    grow: int = Field(ge=0, description="epochs over which the training radius grows to its full size; 0: no growth")
    beta: float = Field(gt=0, description="weight of robustness against accuracy (trades)")
    clean: float = Field(ge=0, description="tolerated loss of validation score without an attack")


class ObjectiveParams(Section):
    """The objective, its teacher, and the sections of all methods."""

    objective: Objective
    teacher: TeacherParams
    distillation: DistillationSection
    unlabelled: UnlabeledSection
    domain: DomainSection
    adversaries: AdversariesSection
