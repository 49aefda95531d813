"""Recognizes the names of splits, alone (`train`) or in folder names (`training_set`, `seg_train`, `TestImages`)."""

from __future__ import annotations

import re

from tasks.core.schema import Split

# Names of splits that are common in data sets.
SPLIT_FOLDERS = {
    "train": Split.TRAIN,
    "training": Split.TRAIN,
    "val": Split.VALIDATION,
    "valid": Split.VALIDATION,
    "validation": Split.VALIDATION,
    "dev": Split.VALIDATION,
    "test": Split.TEST,
    "testing": Split.TEST,
    "eval": Split.TEST,
    "evaluation": Split.TEST,
    "holdout": Split.TEST,
    "unlabelled": Split.UNLABELED,
    "unlabeled": Split.UNLABELED,
}
TO_PREDICT = dict.fromkeys(("pred", "predict", "prediction", "predictions"), Split.UNLABELED)  # only inside names
ENDINGS = ("", "set", "data", "images", "imgs", "split")  # often written together with the word: trainset
WORDS = {f"{word}{ending}": split for word, split in (SPLIT_FOLDERS | TO_PREDICT).items() for ending in ENDINGS}


def is_split_name(name: str) -> bool:
    """Returns whether the whole name is that of a split."""
    return name.strip().lower() in SPLIT_FOLDERS


def split_in(name: str) -> Split | None:
    """Returns the one split that the words in a name denote; None if they denote none or several."""
    splits = {WORDS[word] for word in words_of(name) if word in WORDS}
    return splits.pop() if len(splits) == 1 else None


def without_split(name: str) -> str:
    """Returns the name without the words that denote a split or a set of images: `train_cats` becomes `cats`."""
    return " ".join(word for word in words_of(name) if word not in WORDS and word not in ENDINGS)


def words_of(name: str) -> list[str]:
    """Returns the words of a name in lower case, divided at capitals, digits and other characters."""
    divided = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.replace("hold-out", "holdout").replace("hold_out", "holdout"))
    return re.findall(r"[^\W\d_]+", divided.lower())
