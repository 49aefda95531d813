"""The suite of data rules: each rule's expectation, the severity of its failure, and the remedy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tasks.core.schema import LABELED_SPLITS, Column, Split

IMAGES, CLASSES = "image", "class"  # the tables that rules check, and the columns that name their rows
SHORT_SIDE, IN_CLASS_MAP = "short_side", "label_in_class_map"
PIXEL_SPLITS, PIXEL_LABELS = "splits_with_these_pixels", "labels_with_these_pixels"
GROUP_SPLITS = "splits_with_this_group"
NEAR_DUPLICATES, LEFT_OUT = "near_duplicates_in_other_splits", "left_out"
NO_NEAR_DUPLICATES = "No near-duplicates are in two splits"
LABELS_IN_CLASS_MAP, ONE_LABEL = "Every label is one of the training split's", "No picture has two labels"
CRITICAL, WARNING = "critical", "warning"
BETWEEN = "ExpectColumnValuesToBeBetween"


@dataclass(frozen=True)
class Rule:
    """One expectation: its table, its arguments, the severity of a failure, and the remedy."""

    title: str
    table: str
    expectation: str
    arguments: dict[str, Any]
    severity: str
    remedy: str


def rules(
    min_side: int,
    max_unreadable: float,
    targets: Sequence[str] = (),
    labels: Sequence[str] = (),
    *,
    ours: bool = False,
) -> list[Rule]:
    """Returns the suite. `min_side` is in pixels; `max_unreadable` is the tolerated fraction of broken files.

    If the splits are `ours`, not the source's, a class without test images is a warning: it has too few images. For
    regression there are no rules on labels and classes. For multi-label data the class map is checked per label, since
    a combination of labels need not occur in the training split.
    """
    suite = [
        *_file_rules(min_side, max_unreadable),
        *_label_and_leak_rules(),
        *_near_duplicate_rules(),
        *_class_rules(ours),
    ]
    suite += [_left_out_rule()] if ours else []
    if labels:
        return [rule for rule in suite if rule.title != LABELS_IN_CLASS_MAP]
    on_labels = {LABELS_IN_CLASS_MAP, ONE_LABEL}
    return [rule for rule in suite if rule.title not in on_labels and rule.table != CLASSES] if targets else suite


def _file_rules(min_side: int, max_unreadable: float) -> list[Rule]:
    return [
        Rule(
            "There are images to train on, to choose on and to test on",
            IMAGES,
            "ExpectColumnDistinctValuesToContainSet",
            {"column": Column.SPLIT.value, "value_set": [split.value for split in LABELED_SPLITS]},
            CRITICAL,
            "add images; 10 a class are a start",
        ),
        Rule(
            "Every file can be read",
            IMAGES,
            "ExpectColumnValuesToBeNull",
            {"column": Column.QUARANTINE.value, "mostly": 1 - max_unreadable},
            CRITICAL,
            "replace or remove the broken files, or allow a fraction of them: validate.max_unreadable",
        ),
        Rule(
            f"Every image is at least {min_side} pixels high and wide",
            IMAGES,
            BETWEEN,
            {"column": SHORT_SIDE, "min_value": min_side},
            CRITICAL,
            "remove the small images, or lower validate.min_side",
        ),
    ]


def _label_and_leak_rules() -> list[Rule]:
    return [
        Rule(
            LABELS_IN_CLASS_MAP,
            IMAGES,
            "ExpectColumnValuesToBeInSet",
            {"column": IN_CLASS_MAP, "value_set": [True]},
            CRITICAL,
            "add training images of the class, or remove its images from the other splits",
        ),
        Rule(
            "No picture is in two splits",
            IMAGES,
            BETWEEN,
            {"column": PIXEL_SPLITS, "max_value": 1},
            CRITICAL,
            "keep each picture in one split only: the score on pictures that were trained on says nothing",
        ),
        Rule(
            "No group is in two splits",
            IMAGES,
            BETWEEN,
            {"column": GROUP_SPLITS, "max_value": 1},
            CRITICAL,
            "keep the pictures of a group in one split, or give them no splits: then their group decides",
        ),
        Rule(
            ONE_LABEL,
            IMAGES,
            BETWEEN,
            {"column": PIXEL_LABELS, "max_value": 1},
            CRITICAL,
            "decide on one label and remove the other copy",
        ),
    ]


def _near_duplicate_rules() -> list[Rule]:
    return [
        Rule(
            NO_NEAR_DUPLICATES,
            IMAGES,
            BETWEEN,
            {"column": NEAR_DUPLICATES, "max_value": 0},
            WARNING,
            "keep almost equal pictures in one split: a score on copies of pictures that were trained on says nothing",
        )
    ]


def _left_out_rule() -> Rule:
    return Rule(
        "Every image fits into one split",
        IMAGES,
        "ExpectColumnValuesToBeNull",
        {"column": LEFT_OUT},
        WARNING,
        "these images are left out, since images of earlier versions keep their splits; remove them, or add images",
    )


def _class_rules(ours: bool) -> list[Rule]:
    """Returns the rules on the images of a class in each split. `ours`: a hash decided on the splits."""
    severities = {Split.TRAIN: CRITICAL, Split.TEST: WARNING if ours else CRITICAL, Split.VALIDATION: WARNING}
    remedy = "add {} images of the class, or remove the class from the other splits"
    if ours:
        remedy = (
            "add images: a class of three different ones or more gets {0} images; without test images it is not scored"
        )
    return [
        Rule(
            f"Every class has {split} images",
            CLASSES,
            BETWEEN,
            {"column": split.value, "min_value": 1},
            severity,
            remedy.format(split),
        )
        for split, severity in severities.items()
    ]
