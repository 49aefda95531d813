"""Names that writers and readers share: columns, splits, candidates, metrics."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

STAGES: Final = (  # in order
    *("ingest", "validate", "choose", "augment", "features", "head", "finetune", "evaluate"),
)
AUTO: Final = "auto"  # backbone.architecture, backbone.weights, finetune.recipe: chosen for the images
EMBEDDED_ARCHITECTURE: Final = "resnet10"  # the architecture of the embedded network


class Column(StrEnum):
    """Columns of the manifest (one row per image) and of the tables made from it."""

    PATH = "path"
    SHA256 = "sha256"
    PIXEL_HASH = "pixel_hash"
    PERCEPTUAL_HASH = "perceptual_hash"
    WIDTH = "width"
    HEIGHT = "height"
    MODE = "mode"
    LABEL = "label"
    SPLIT = "split"
    GROUP = "group"
    WEIGHT = "weight"
    QUARANTINE = "quarantine"
    VIEW = "view"
    PREDICTED = "predicted"
    PROBABILITY = "probability"
    CONFIDENT = "confident"
    REASON = "reason"
    DISTRIBUTION = "distribution"


class Split(StrEnum):
    """The splits. Models train on train, are selected on validation and scored on test."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"
    UNLABELED = "unlabelled"


class Candidate(StrEnum):
    """The models that evaluation compares.

    MEAN predicts the mean of the training targets, the baseline for regression; TEACHER is the model distilled from.
    """

    MEAN = "mean of train"
    SCRATCH = "from scratch"
    PROBE = "frozen + head"
    TUNED = "fine-tuned"
    TEACHER = "teacher"

    @property
    def slug(self) -> str:
        """Returns the name for use in metric and file names."""
        return self.name.lower()


class Metric(StrEnum):
    """Metrics on the test split. ECE is the expected calibration error."""

    ACCURACY = "accuracy"
    MACRO_F1 = "macro_f1"
    NLL = "nll"
    ECE = "ece"
    NLL_UNCALIBRATED = "nll_uncalibrated"
    ECE_UNCALIBRATED = "ece_uncalibrated"
    MAP = "map"  # mean average precision, multi-label only
    R2 = "r2"
    MAE = "mae"
    RMSE = "rmse"
    AGREEMENT = "agreement"  # fraction of images on which the model agrees with the teacher
    SCALED_MAE = "scaled_mae"  # of several targets: mean absolute error in standard deviations of the training targets

    @property
    def higher_is_better(self) -> bool:
        """Returns whether a higher value is better."""
        return self in {Metric.ACCURACY, Metric.MACRO_F1, Metric.MAP, Metric.R2, Metric.AGREEMENT}


class Curve(StrEnum):
    """Columns of a training curve, one row per epoch."""

    CANDIDATE = "candidate"
    EPOCH = "epoch"
    STEP = "step"
    TRAIN_LOSS = "train_loss"
    VALIDATION_LOSS = "validation_loss"  # the objective's criterion for the best epoch; lower is better
    VALIDATION_SCORE = "validation_score"  # accuracy; macro F1 if multi-label; R² in regression
    AGREEMENT = "agreement"  # agreement with the teacher on validation images
    TEACHER_SCORE = "teacher_score"  # the teacher's validation score
    CLEAN_SCORE = "clean_score"  # score on clean images, if validation_score is measured under attack
    TARGET_SCORE = "target_score"  # score on the target domain's test images; only reported, never used for selection


LABELED_SPLITS: Final = (Split.TRAIN, Split.VALIDATION, Split.TEST)
TABLE: Final = "rootstock.parquet"  # in data/raw, beside the images: the source's table
HAS: Final = "label:"  # prefix of the manifest's 0/1 columns in multi-label data
TARGET: Final = "target:"  # prefix of the manifest's regression target columns
ANSWER: Final = "predicted:"  # prefix of the predicted-target columns
MAX_CLASSES_SHOWN: Final = 40  # with more, predictions list the likeliest classes, and plots and tables the worst
MAX_WORST_SHOWN: Final = 20  # classes or pairs of classes in these plots and tables
LABEL_PROBABILITY: Final = "label_probability"  # beside the likeliest classes: the probability of the true class
LIKELIEST: Final = tuple((f"likeliest_{rank}", f"probability_{rank}") for rank in range(1, 6))  # pairs of columns
PROBABILITIES: Final = "probabilities"  # name of the matrix of all classes' probabilities in its file
FEATURES: Final = "features"  # name of the feature matrix in its file
VALUE, LOW, HIGH = "value", "low", "high"  # a metric's value and the bounds of its 95% interval, where it has one


class Balance(StrEnum):
    """How class imbalance is compensated."""

    NONE = "none"
    WEIGHTS = "weights"
    SAMPLING = "sampling"
    LOGITS = "logits"


class FolderClasses(StrEnum):
    """Which folders are the classes if class folders contain folders."""

    AUTO = "auto"
    FOLDERS = "folders"
    SUBFOLDERS = "subfolders"
