"""Names shared by those who write and those who read them: columns, splits, models, metrics."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

STAGES: Final = ("ingest", "validate", "augment", "features", "head", "finetune", "evaluate")  # in order


class Column(StrEnum):
    """Columns of the manifest (one row an image) and of the tables made from it."""

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
    """Where an image belongs. Models learn on train, choose on validation, are scored on test."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"
    UNLABELLED = "unlabelled"


class Candidate(StrEnum):
    """The models that answer the article's question.

    The mean of the training targets is regression's starting line; the teacher is the big model that one learns from.
    """

    MEAN = "mean of train"
    SCRATCH = "from scratch"
    PROBE = "frozen + head"
    TUNED = "fine-tuned"
    TEACHER = "teacher"

    @property
    def slug(self) -> str:
        """For names of metrics and files."""
        return self.name.lower()


class Metric(StrEnum):
    """Numbers on the test split; `ECE` is the expected calibration error."""

    ACCURACY = "accuracy"
    MACRO_F1 = "macro_f1"
    NLL = "nll"
    ECE = "ece"
    NLL_UNCALIBRATED = "nll_uncalibrated"
    ECE_UNCALIBRATED = "ece_uncalibrated"
    MAP = "map"  # mean average precision, of several labels
    R2 = "r2"
    MAE = "mae"
    RMSE = "rmse"
    AGREEMENT = "agreement"  # share of images that are answered as the teacher does

    @property
    def higher_is_better(self) -> bool:
        """Whether more of it is wanted."""
        return self in {Metric.ACCURACY, Metric.MACRO_F1, Metric.MAP, Metric.R2, Metric.AGREEMENT}


class Curve(StrEnum):
    """Columns of a training curve, a row an epoch."""

    CANDIDATE = "candidate"
    EPOCH = "epoch"
    STEP = "step"
    TRAIN_LOSS = "train_loss"
    VALIDATION_LOSS = "validation_loss"  # what an epoch is chosen by, as the objective says; lower is better
    VALIDATION_SCORE = "validation_score"  # accuracy; of several labels, macro F1; of targets, R²
    AGREEMENT = "agreement"  # with the teacher, on validation
    TEACHER_SCORE = "teacher_score"  # the teacher's own, on validation
    CLEAN_SCORE = "clean_score"  # where validation_score is that under attack
    TARGET_SCORE = "target_score"  # of the target domain's test images: looked at, never used


LABELLED_SPLITS: Final = (Split.TRAIN, Split.VALIDATION, Split.TEST)
TABLE: Final = "rootstock.parquet"  # among the images in data/raw: what the source said of them
HAS: Final = "label:"  # begins the manifest's columns of 0 and 1 where an image may have several labels
TARGET: Final = "target:"  # begins the manifest's columns of numbers to predict
ANSWER: Final = "predicted:"  # begins the columns of their predictions
FEATURES: Final = "features"  # the tensor of the feature matrix
VALUE, LOW, HIGH = "value", "low", "high"  # of a metric and its 95% interval


class Balance(StrEnum):
    """How classes of unequal size are learned."""

    NONE = "none"
    WEIGHTS = "weights"
    SAMPLING = "sampling"
    LOGITS = "logits"
