"""Writes the default data: scikit-learn's 1,797 handwritten digits (UCI, Alpaydin and Kaynak, 1998), as images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from tasks.core.schema import Split

SEED = 0  # seed of the split; must never change
LABELED = 10  # images per class in train and in validation
SPLIT_ENDS = {  # positions within a class
    Split.TRAIN: LABELED,
    Split.VALIDATION: 2 * LABELED,
    Split.UNLABELED: 2 * LABELED + 80,
}


def digits() -> Iterator[tuple[np.ndarray, int, Split, int]]:
    """Yields each image, (8, 8) uint8, bright ink on dark, with its digit, its split and its index in the data set.

    The splits have 100 (train), 100 (validation), 800 (unlabeled) and 797 (test) images.
    """
    data = load_digits()
    images_NHW = np.rint(data.images * (255 / 16)).astype(np.uint8)
    random = np.random.default_rng(SEED)
    for digit in range(10):
        for place, number in enumerate(random.permutation(np.flatnonzero(data.target == digit))):
            split = next((split for split, end in SPLIT_ENDS.items() if place < end), Split.TEST)
            yield images_NHW[number], digit, split, int(number)


def render(folder: Path) -> None:
    """Writes the images as split/digit/number.png, unlabeled images as unlabelled/number.png.

    PNG files are not compressed, so that their bytes do not depend on the compressor's version.
    """
    for image_HW, digit, split, number in digits():
        target = folder / split / ("" if split is Split.UNLABELED else str(digit)) / f"{number:04d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image_HW).save(target, compress_level=0)


ANGLE, MAX_DEGREES, TURNS, SIDE = "angle", 60.0, 4, 32  # rotated digits: column, range, rotations per digit, pixels


def render_rotations(folder: Path) -> Path:
    """Writes each digit rotated TURNS times, uniformly in +-60 degrees. Returns the table of the angles (CSV).

    The rotations of one digit form a group. The test split contains the digits of `digits`' test split; train and
    validation contain the rest.
    """
    random = np.random.default_rng(SEED)
    rows = ["path,angle,split,group"]
    for image_HW, _, split, number in digits():
        large = Image.fromarray(image_HW).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        labeled_split = Split.TRAIN if split is Split.UNLABELED else split
        for turn, degrees in enumerate(random.uniform(-MAX_DEGREES, MAX_DEGREES, TURNS)):
            target = folder / labeled_split / f"{number:04d}-{turn}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            large.rotate(degrees, Image.Resampling.BICUBIC).save(target, compress_level=0)
            rows.append(f"{target.relative_to(folder).as_posix()},{degrees:.3f},{labeled_split},{number}")
    table = folder / "manifest.csv"
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return table
