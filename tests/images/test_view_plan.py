from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.schema import Column
from tasks.core.sections import AugmentPolicy
from tasks.images.transforms import CLEAN, VIEW_PARAMETERS
from tasks.images.view_plan import plan_views, sample_parameters

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


@given(st.text(max_size=64), st.integers(1, 1000), st.integers(0, 2**31))
def test_draws_stay_within_the_policy_and_depend_on_nothing_else(pixels, view, seed):
    numbers = dict(zip(VIEW_PARAMETERS, sample_parameters(pixels, view, policy(seed=seed)), strict=True))
    others = policy(seed=seed, views=9, fill="black", check=False)  # no view depends on these
    assert numbers == dict(zip(VIEW_PARAMETERS, sample_parameters(pixels, view, others), strict=True))
    assert abs(numbers["shift_x"]) <= 0.1
    assert abs(numbers["shift_y"]) <= 0.1
    assert 0.8 <= numbers["scale"] <= 1.2
    assert numbers["flip"] in {0.0, 1.0}
    assert all(0.7 <= numbers[name] <= 1.3 for name in ("brightness", "contrast", "saturation"))


def test_a_draw_is_the_same_for_ever():
    """If this fails, all stored features and plans are invalid."""
    first = (-0.075658, 0.015789, 0.805691, 1.0, 0.956217, 1.011518, 0.96515)
    assert sample_parameters("abc", 1, POLICY) == (*first, 0, 0, 0, 0, 0)
    more = policy(rotation=30.0, erase=1.0, automatic="trivial")
    assert sample_parameters("abc", 1, more) == (*first, 16.775941, 0.343248, 0.3852, 0.260576, 12037610.0)


def test_view_zero_and_an_empty_policy_are_the_clean_image():
    assert sample_parameters("abc", 0, POLICY) == CLEAN
    assert sample_parameters("abc", 5, policy(shift=0, scale=0, flip=False, colour=0)) == CLEAN


def test_draws_are_spread_evenly_and_half_are_mirrored():
    rows = [dict(zip(VIEW_PARAMETERS, sample_parameters(str(n), 1, POLICY), strict=True)) for n in range(2000)]
    assert sum(row["flip"] for row in rows) == pytest.approx(1000, abs=100)
    assert sum(row["shift_x"] for row in rows) / 2000 == pytest.approx(0, abs=0.005)


def test_the_plan_has_one_row_per_view_in_order():
    planned = plan_views([("a.png", "pa"), ("b.png", "pb")], POLICY)
    assert list(planned[Column.PATH]) == ["a.png"] * 3 + ["b.png"] * 3
    assert list(planned[Column.VIEW]) == [1, 2, 3] * 2
    assert not planned[list(VIEW_PARAMETERS)].duplicated().any()


def test_views_of_another_salt_are_drawn_apart():
    images = [(str(n), f"pixels {n}") for n in range(2000)]
    one, other = (plan_views(images, policy(views=1), salt)[list(VIEW_PARAMETERS)] for salt in ("", "x"))
    for name in ("shift_x", "scale", "flip", "brightness"):
        assert abs(one[name].corr(other[name])) < 0.1
