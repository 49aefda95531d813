"""Checks on the training data that horizontally flipped images keep their labels, before augmentation flips them.

Shapes: N images, D pixels of a thumbnail.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from math import comb
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageOps

from tasks.core.errors import DataRefusedError
from tasks.core.schema import Column
from tasks.scorer.decode import decode

SIDE = 16  # side of the compared thumbnails in pixels
SAMPLE_SIZE = 1000  # images
MIN_DROP, MAX_P_VALUE = 0.1, 0.001  # the check fails if label agreement drops by more than this, at this significance


def check_flip_keeps_labels(root: Path, train: pd.DataFrame) -> None:
    """Raises DataRefusedError if flipped training images look like images of other classes."""
    original, flipped, p_value = nearest_label_agreement(root, train)
    if original - flipped > MIN_DROP and p_value < MAX_P_VALUE:
        raise DataRefusedError(
            f"augment.flip: flipping changes labels: the most similar other image has the same label for "
            f"{original:.0%} of the images, but only for {flipped:.0%} of their mirror images (p = {p_value:.2g}); set "
            "augment.flip: false, or augment.check: false if you are sure that flipping keeps the labels",
            key="augment.flip",
        )


def nearest_label_agreement(root: Path, train: pd.DataFrame) -> tuple[float, float, float]:
    """Returns how often the nearest other image has the same label, for original and for flipped images, and p.

    Similarity is the correlation of grayscale thumbnails. p is the exact one-sided McNemar p-value for flipped images
    agreeing less often.
    """
    sample = train.sort_values(Column.PIXEL_HASH).head(SAMPLE_SIZE)
    label_N = sample[Column.LABEL].to_numpy()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        thumbnails = list(pool.map(lambda path: _thumbnail(root / path), sample[Column.PATH]))
    original_ND = np.stack([_standardize(image) for image in thumbnails])
    flipped_ND = np.stack([_standardize(ImageOps.mirror(image)) for image in thumbnails])
    original_N, flipped_N = (_agrees(query_ND, original_ND, label_N) for query_ND in (original_ND, flipped_ND))
    return float(original_N.mean()), float(flipped_N.mean()), mcnemar(original_N, flipped_N)


def mcnemar(first_N: np.ndarray, second_N: np.ndarray) -> float:
    """Returns the exact one-sided p-value of `first` being correct more often than `second` (McNemar, 1947).

    Both are (N,) bool: whether each of the two predictors is correct on the same N images.
    """
    only_first, only_second = int((first_N & ~second_N).sum()), int((~first_N & second_N).sum())
    discordant = only_first + only_second
    return float(sum(comb(discordant, k) for k in range(only_first, discordant + 1)) / 2**discordant)


def _thumbnail(path: Path) -> Image.Image:
    return decode(path.read_bytes(), 4 * SIDE).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)


def _standardize(image: Image.Image) -> np.ndarray:
    gray_D = np.asarray(image, dtype=np.float64).ravel()
    return np.asarray((gray_D - gray_D.mean()) / (gray_D.std() + 1e-9))


def _agrees(query_ND: np.ndarray, reference_ND: np.ndarray, label_N: np.ndarray) -> np.ndarray:
    """Returns whether each query's nearest reference in another row has the same label, (N,) bool."""
    similarity_NN = query_ND @ reference_ND.T
    np.fill_diagonal(similarity_NN, -np.inf)
    return np.asarray(label_N[similarity_NN.argmax(1)] == label_N)
