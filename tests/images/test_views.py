from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.sections import AugmentPolicy
from tasks.images import views
from tasks.images.transforms import CLEAN, VIEW_PARAMETERS
from tasks.images.views import Views, sample_views

POLICY = AugmentPolicy(
    seed=0,
    views=3,
    shift=0.1,
    scale=0.2,
    flip=True,
    colour=0.3,
    rotation=0.0,
    erase=0.0,
    automatic="none",
    fill="edge",
    check=True,
)


def policy(**changes):
    return AugmentPolicy(**{**dict(POLICY), **changes})


def numbers_of(pixels, view, policy):
    return dict(zip(VIEW_PARAMETERS, sample_views([pixels], [view], policy)[0].tolist(), strict=True))


@given(st.text(max_size=64), st.integers(1, 1000), st.integers(0, 2**31))
def test_draws_stay_within_the_policy_and_depend_on_nothing_else(pixels, view, seed):
    numbers = numbers_of(pixels, view, policy(seed=seed))
    others = policy(seed=seed, views=9, fill="black", check=False)  # no view depends on these
    assert numbers == numbers_of(pixels, view, others)
    assert abs(numbers["shift_x"]) <= 0.1
    assert abs(numbers["shift_y"]) <= 0.1
    assert 0.8 <= numbers["scale"] <= 1.2
    assert numbers["flip"] in {0.0, 1.0}
    assert all(0.7 <= numbers[name] <= 1.3 for name in ("brightness", "contrast", "saturation"))


def test_a_draw_is_the_same_for_ever():
    """If this fails, all stored features are invalid."""
    first = (-0.075658, 0.015789, 0.805691, 1.0, 0.956217, 1.011518, 0.96515)
    assert tuple(numbers_of("abc", 1, POLICY).values()) == (*first, 0, 0, 0, 0, 0)
    more = policy(rotation=30.0, erase=1.0, automatic="trivial")
    assert tuple(numbers_of("abc", 1, more).values()) == (*first, 16.775941, 0.343248, 0.3852, 0.260576, 12037610.0)


def test_view_zero_and_an_empty_policy_are_the_clean_image():
    assert tuple(numbers_of("abc", 0, POLICY).values()) == CLEAN
    assert tuple(numbers_of("abc", 5, policy(shift=0, scale=0, flip=False, colour=0)).values()) == CLEAN


def test_draws_are_spread_evenly_and_half_are_mirrored():
    rows = [numbers_of(str(n), 1, POLICY) for n in range(2000)]
    assert sum(row["flip"] for row in rows) == pytest.approx(1000, abs=100)
    assert sum(row["shift_x"] for row in rows) / 2000 == pytest.approx(0, abs=0.005)


@given(st.lists(st.tuples(st.text(max_size=8), st.integers(0, 50)), min_size=1), st.sampled_from(["", "other "]))
def test_drawn_together_they_are_what_they_are_alone(asked, salt):
    pixels, numbers = zip(*asked, strict=True)
    more = policy(rotation=30.0, erase=0.5, automatic="rand")
    together = sample_views(pixels, numbers, more, salt)
    alone = [sample_views([one], [number], more, salt)[0] for one, number in asked]
    assert np.array_equal(together.view(np.uint64), np.array(alone).view(np.uint64))


@given(st.lists(st.floats(-360, 360), min_size=1))
def test_numbers_are_rounded_as_python_rounds_them(numbers):
    """NumPy rounds 0.0000015 down and Python up: its double is a little more than the decimal."""
    numbers += [0.0000015, -0.0000025, 5e-7, 1.0000005]
    assert views._rounded(np.array(numbers)).tolist() == [round(number, 6) for number in numbers]


def test_an_epoch_has_one_view_of_each_image_and_the_views_come_around():
    views_of_two = Views(["a", "b"], POLICY)
    assert [views_of_two.number(epoch) for epoch in range(5)] == [1, 2, 3, 1, 2]
    second = views_of_two.draw(torch.tensor([1, 0]), 2)
    assert torch.equal(second, torch.from_numpy(sample_views(["b", "a"], [2, 2], POLICY)))
    assert torch.equal(views_of_two.draw(torch.tensor([1, 0]), torch.tensor([2, 2])), second)


def test_views_of_another_salt_are_drawn_apart():
    pixels = [f"pixels {n}" for n in range(2000)]
    one, other = (sample_views(pixels, [1] * 2000, POLICY, salt) for salt in ("", "x"))
    for name in ("shift_x", "scale", "flip", "brightness"):
        place = VIEW_PARAMETERS.index(name)
        assert abs(np.corrcoef(one[:, place], other[:, place])[0, 1]) < 0.1
