from __future__ import annotations

import numpy as np
import pytest
import torch

from tasks.images.corruptions import corrupted
from tasks.scorer.preprocessing import Preprocessing
from tests.drawn import drawn

PREPARE = Preprocessing(resize=32, crop=32, mean=(0.0,) * 3, std=(1.0,) * 3, interpolation="bilinear")
GENTLE = {"shift": (0.05, 0.2), "scale": (0.95, 0.7), "rotation": (3, 20), "noise": (0.02, 0.2)}
GENTLE |= {"blur": (0.01, 0.08), "jpeg": (90, 5)}


@pytest.fixture
def squares():
    return torch.stack([PREPARE.square(drawn("ring", seed)) for seed in range(4)])


@pytest.mark.parametrize("kind", GENTLE)
def test_each_corruption_grows_with_its_strength_and_is_deterministic(kind, squares):
    clean = PREPARE.network_input(squares)
    weak, strong = (corrupted(kind, strength, squares, PREPARE) for strength in GENTLE[kind])
    assert weak.shape == clean.shape
    assert 0 < (weak - clean).abs().mean() < (strong - clean).abs().mean()
    assert torch.equal(strong, corrupted(kind, GENTLE[kind][1], squares, PREPARE))


def test_different_images_get_different_noise(squares):
    noises = [corrupted("noise", 0.1, part, PREPARE) - PREPARE.network_input(part) for part in squares.split(1)]
    assert abs(torch.corrcoef(torch.stack(noises).flatten(1))[0, 1]) < 0.2


def test_a_flip_is_a_flip(squares):
    flipped = corrupted("flip", 1, squares, PREPARE)
    np.testing.assert_allclose(flipped.flip(-1), PREPARE.center(squares), atol=1e-5)


def test_quarter_turns_alternate_between_clockwise_and_back(squares):
    clean = PREPARE.network_input(squares[:2])
    turned = corrupted("rotation", 90, squares[:2], PREPARE)
    np.testing.assert_allclose(turned[0], clean[0].rot90(-1, (1, 2)), atol=1e-5)
    np.testing.assert_allclose(turned[1], clean[1].rot90(1, (1, 2)), atol=1e-5)


def test_shifts_go_in_four_directions(squares):
    same = squares[:1].repeat(4, 1, 1, 1)
    moved = corrupted("shift", 0.2, same, PREPARE)
    assert len({tuple(image.flatten().tolist()) for image in moved}) == 4
