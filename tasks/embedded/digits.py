"""The embedded default: scikit-learn's 1,797 handwritten digits (UCI, Alpaydin and Kaynak, 1998) as an image folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from tasks.core.schema import Split

SEED = 0  # of the split, fixed for ever
LABELLED = 10  # images a class in train, and as many in validation
SPLIT_ENDS = {
    Split.TRAIN: LABELLED,
    Split.VALIDATION: 2 * LABELLED,
    Split.UNLABELLED: 2 * LABELLED + 80,
}  # places in a class


def digits() -> Iterator[tuple[np.ndarray, int, Split, int]]:
    """Each image, (8, 8) uint8 with bright ink, its digit, its split and its number in the data set.

    Train 100, validation 100, unlabelled 800, test 797.
    """
    data = load_digits()
    images_NHW = np.rint(data.images * (255 / 16)).astype(np.uint8)
    random = np.random.default_rng(SEED)
    for digit in range(10):
        for place, number in enumerate(random.permutation(np.flatnonzero(data.target == digit))):
            split = next((split for split, end in SPLIT_ENDS.items() if place < end), Split.TEST)
            yield images_NHW[number], digit, split, int(number)


def render(folder: Path) -> None:
    """Writes the images as split/digit/number.png, the unlabelled ones as unlabelled/number.png.

    PNG without compression, so that the bytes do not depend on the version of a compressor.
    """
    for image_HW, digit, split, number in digits():
        target = folder / split / ("" if split is Split.UNLABELLED else str(digit)) / f"{number:04d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image_HW).save(target, compress_level=0)


ANGLE, MOST_DEGREES, TURNS, SIDE = "angle", 60.0, 4, 32  # of the rotated digits: column, +- this, times each, pixels


def render_rotations(folder: Path) -> Path:
    """The digits, each turned TURNS times by angles uniform in +-60 degrees, as pictures and a table of the angles.

    All turns of one digit are a group. Test: the same digits as in `digits`; train and validation: all the others.
    """
    random = np.random.default_rng(SEED)
    rows = ["path,angle,split,group"]
    for image_HW, _, split, number in digits():
        large = Image.fromarray(image_HW).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        of_split = Split.TRAIN if split is Split.UNLABELLED else split
        for turn, degrees in enumerate(random.uniform(-MOST_DEGREES, MOST_DEGREES, TURNS)):
            target = folder / of_split / f"{number:04d}-{turn}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            large.rotate(degrees, Image.Resampling.BICUBIC).save(target, compress_level=0)
            rows.append(f"{target.relative_to(folder).as_posix()},{degrees:.3f},{of_split},{number}")
    table = folder / "manifest.csv"
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return table
