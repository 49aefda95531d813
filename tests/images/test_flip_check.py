from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw
from scipy.stats import binomtest

from tasks.core.errors import DataRefusedError
from tasks.core.schema import Column
from tasks.images.flip_check import check_flip_keeps_labels, mcnemar, nearest_label_agreement
from tests.errors import raises


def arrow(seed, left):
    rng = np.random.default_rng(seed)
    image = Image.new("L", (40, 40))
    x, y = 10 + rng.uniform(-2, 2), 20 + rng.uniform(-4, 4)
    ImageDraw.Draw(image).polygon([(x, y - 8), (x, y + 8), (x + 20, y)], fill=int(rng.integers(150, 255)))
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if left else image


def folder(root, labeled):
    rows = []
    for number, (label, image) in enumerate(labeled):
        image.save(root / f"{number}.png")
        rows.append({Column.PATH: f"{number}.png", Column.LABEL: label, Column.PIXEL_HASH: f"{number:04d}"})
    return pd.DataFrame(rows)


def test_arrows_must_not_be_flipped(tmp_path):
    train = folder(tmp_path, [("left" if n % 2 else "right", arrow(n, n % 2)) for n in range(40)])
    original, flipped, p = nearest_label_agreement(tmp_path, train)
    assert (original, p < 0.001) == (1.0, True)
    assert flipped < 0.2
    with raises(DataRefusedError, "augment.flip"):
        check_flip_keeps_labels(tmp_path, train)


def test_symmetric_shapes_may_be_flipped(tmp_path):
    rng = np.random.default_rng(0)

    def blob(tall):
        image = Image.new("L", (40, 40))
        x, y = rng.uniform(16, 24, 2)
        w, h = (4, 14) if tall else (14, 4)
        ImageDraw.Draw(image).ellipse((x - w, y - h, x + w, y + h), fill=200)
        return image

    check_flip_keeps_labels(tmp_path, folder(tmp_path, [(str(n % 2), blob(n % 2)) for n in range(40)]))


@pytest.mark.parametrize(("first", "second"), [(9, 1), (5, 5), (0, 7), (0, 0)])
def test_mcnemar_is_the_binomial_test_of_the_discordant(first, second):
    a = np.array([True] * first + [False] * second + [True] * 3, dtype=bool)
    b = np.array([False] * first + [True] * second + [True] * 3, dtype=bool)
    expected = binomtest(first, first + second, alternative="greater").pvalue if first + second else 1.0
    assert mcnemar(a, b) == pytest.approx(expected)
