"""Does a mirrored picture keep its label? Asked of the data, before a policy may flip."""

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

SIDE = 16  # pixels of the thumbnails that are compared
ENOUGH = 1000  # pictures
FALL, CHANCE = 0.1, 0.001  # how far, and how surely, the hits must fall


def check_flip_keeps_labels(root: Path, train: pd.DataFrame) -> None:
    """Raises DataRefusedError if mirrored training pictures look like those of other classes."""
    clean, mirrored, p_value = nearest_label(root, train)
    if clean - mirrored > FALL and p_value < CHANCE:
        raise DataRefusedError(
            f"augment.flip breaks the labels: the most similar other picture has the same label for {clean:.0%} of the "
            f"pictures, but for {mirrored:.0%} of them mirrored (p = {p_value:.2g}); set augment.flip: false, "
            "or augment.check: false if you know that a mirrored picture keeps its label"
        )


def nearest_label(root: Path, train: pd.DataFrame) -> tuple[float, float, float]:
    """How often the most similar other picture has the same label: for pictures as they are, mirrored, and p.

    Similarity is the correlation of grey thumbnails. p is the one-sided exact McNemar test's for "mirrored is as good".
    """
    sample = train.sort_values(Column.PIXEL_HASH).head(ENOUGH)
    label_N = sample[Column.LABEL].to_numpy()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        thumbnails = list(pool.map(lambda path: _thumbnail(root / path), sample[Column.PATH]))
    plain_ND = np.stack([_standardised(picture) for picture in thumbnails])
    mirrored_ND = np.stack([_standardised(ImageOps.mirror(picture)) for picture in thumbnails])
    clean_N, flipped_N = (_hits(query_ND, plain_ND, label_N) for query_ND in (plain_ND, mirrored_ND))
    return float(clean_N.mean()), float(flipped_N.mean()), mcnemar(clean_N, flipped_N)


def mcnemar(first_N: np.ndarray, second_N: np.ndarray) -> float:
    """One-sided exact p-value that `first` is right more often than `second` by chance (McNemar, 1947)."""
    only_first, only_second = int((first_N & ~second_N).sum()), int((~first_N & second_N).sum())
    discordant = only_first + only_second
    return float(sum(comb(discordant, k) for k in range(only_first, discordant + 1)) / 2**discordant)


def _thumbnail(path: Path) -> Image.Image:
    return decode(path.read_bytes(), 4 * SIDE).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)


def _standardised(picture: Image.Image) -> np.ndarray:
    grey_D = np.asarray(picture, dtype=np.float64).ravel()
    return np.asarray((grey_D - grey_D.mean()) / (grey_D.std() + 1e-9))


def _hits(query_ND: np.ndarray, plain_ND: np.ndarray, label_N: np.ndarray) -> np.ndarray:
    similarity_NN = query_ND @ plain_ND.T
    np.fill_diagonal(similarity_NN, -np.inf)
    return np.asarray(label_N[similarity_NN.argmax(1)] == label_N)
