from __future__ import annotations

import pytest
import torch

from tasks.images.transforms import CLEAN, VIEW_PARAMETERS, RenderStyle, inputs, view
from tasks.scorer.preprocessing import Preprocessing
from tests.drawn import drawn

PREPARE = Preprocessing(resize=40, crop=32, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), interpolation="bilinear")


def changed(**numbers):
    return torch.tensor([[numbers.get(name, clean) for name, clean in zip(VIEW_PARAMETERS, CLEAN, strict=True)]])


@pytest.fixture
def square():
    return PREPARE.square(drawn("ring", 1, 48))[None]


def test_the_clean_view_is_what_serving_makes_to_the_last_bit(square):
    assert torch.equal(inputs(square, changed(), PREPARE, RenderStyle("mirror")), PREPARE([drawn("ring", 1, 48)]))


def test_the_clean_view_by_interpolation_is_the_center(square):
    torch.testing.assert_close(view(square, changed(), 32, RenderStyle()), PREPARE.center(square), atol=1e-4, rtol=0)


def test_shifts_go_right_and_down_and_show_what_the_margin_holds(square):
    moved = view(square, changed(shift_x=2 / 32, shift_y=1 / 32), 32, RenderStyle())
    expected = square[..., 3 : 3 + 32, 2 : 2 + 32].float() / 255
    torch.testing.assert_close(moved, expected, atol=1e-4, rtol=0)


def test_flip_mirrors_left_and_right(square):
    flipped = view(square, changed(flip=1.0), 32, RenderStyle())
    torch.testing.assert_close(flipped, PREPARE.center(square).flip(-1), atol=1e-4, rtol=0)


def test_a_flipped_view_is_shifted_the_same_way_on_screen(square):
    both = view(square, changed(flip=1.0, shift_x=2 / 32), 32, RenderStyle())
    flipped = view(square, changed(flip=1.0), 32, RenderStyle())
    torch.testing.assert_close(both[..., 2:], flipped[..., :-2], atol=1e-4, rtol=0)


def test_scale_enlarges():
    square = torch.zeros(1, 3, 40, 40, dtype=torch.uint8)
    square[..., 16:24, 16:24] = 255
    lit = [float(view(square, changed(scale=scale), 32, RenderStyle()).mean()) for scale in (0.8, 1.0, 1.25)]
    assert lit[0] == pytest.approx(lit[1] * 0.64, rel=0.05)
    assert lit[2] == pytest.approx(lit[1] * 1.5625, rel=0.05)


@pytest.mark.parametrize(("fill", "value"), [("black", 0.0), ("edge", 1.0), ("mirror", 1.0)])
def test_fill_determines_the_pixels_outside_the_image(fill, value):
    white = torch.full((1, 3, 32, 32), 255, dtype=torch.uint8)
    corner = view(white, changed(shift_x=0.25, shift_y=0.25), 32, RenderStyle(fill))[0, :, 0, 0]
    torch.testing.assert_close(corner, torch.full((3,), value))


def test_color_factors(square):
    center = PREPARE.center(square)
    torch.testing.assert_close(
        view(square, changed(brightness=0.5), 32, RenderStyle()), center * 0.5, atol=1e-4, rtol=0
    )
    gray = view(square, changed(saturation=0.0), 32, RenderStyle())
    torch.testing.assert_close(gray[:, 0], gray[:, 2])
    flat = view(square, changed(contrast=0.0), 32, RenderStyle())
    assert float(flat.std()) == pytest.approx(0, abs=1e-6)


def test_a_batch_equals_its_images_one_by_one(square):
    squares = torch.cat([square, square.flip(-1)])
    draws = torch.cat([changed(shift_x=0.1, scale=1.1), changed(flip=1.0, contrast=1.2)])
    together = view(squares, draws, 32, RenderStyle("edge"))
    alone = torch.cat([view(squares[n : n + 1], draws[n : n + 1], 32, RenderStyle("edge")) for n in range(2)])
    torch.testing.assert_close(together, alone)


def test_rotation_turns_clockwise(square):
    turned = view(square, changed(rotation=90.0), 32, RenderStyle())
    torch.testing.assert_close(turned, PREPARE.center(square).rot90(-1, (2, 3)), atol=1e-4, rtol=0)


def test_a_rotated_view_is_shifted_on_screen(square):
    both = view(square, changed(rotation=90.0, shift_x=2 / 32), 32, RenderStyle())
    turned = view(square, changed(rotation=90.0), 32, RenderStyle())
    torch.testing.assert_close(both[..., 2:], turned[..., :-2], atol=1e-4, rtol=0)


def test_erasing_takes_a_square_and_leaves_the_rest(square):
    erased = view(square, changed(erase_x=0.5, erase_y=0.25, erase_side=0.25), 32, RenderStyle())
    gone = (erased - view(square, changed(), 32, RenderStyle())).abs().sum(1)[0] > 1e-3
    rows, columns = (gone.any(axis).nonzero().flatten() for axis in (1, 0))
    assert (rows.min() >= 4, rows.max() < 12, columns.min() >= 12, columns.max() < 20) == (True,) * 4
    assert gone.sum() > 40


@pytest.mark.parametrize("policy", ["rand", "trivial", "augmix"])
def test_an_automatic_policy_depends_on_its_seed_alone(square, policy):
    squares, style = square.expand(4, -1, -1, -1), RenderStyle("black", policy)
    draws = torch.cat([changed(automatic=seed) for seed in (5.0, 77.0, 5.0, 0.0)])
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    views = view(squares, draws, 32, style)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(views[0], views[2])
    assert torch.equal(views[0], view(square, draws[:1], 32, style)[0])
    torch.testing.assert_close(views[3], PREPARE.center(square)[0], atol=1e-4, rtol=0)
    assert not torch.equal(views[0], views[3])


def test_letterboxing_shows_the_whole_image():
    from PIL import Image

    boxed = Preprocessing(resize=32, crop=32, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear", letterbox=True)
    square = boxed.square(Image.new("RGB", (100, 50), "white"))
    assert square.shape == (3, 32, 32)
    assert (square[:, 8:24] == 255).all()
    assert (square[:, :8] == 0).all()
    assert (square[:, 24:] == 0).all()
    assert boxed.square(Image.new("RGB", (1, 500), "white")).sum() > 0
