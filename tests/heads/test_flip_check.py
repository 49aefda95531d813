from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from scipy.stats import binomtest

from tasks.core.schema import Column
from tasks.core.sections import BackboneParams, FlipCheck
from tasks.core.target import TargetKind, TargetSpec
from tasks.data.folds import folds_by_group
from tasks.embedding.pretrained import frozen_backbone
from tasks.hardware.device import choose
from tasks.heads.flip_check import (
    MAX_CLASSES,
    SAMPLE_SIZE,
    compare_mirrored,
    cross_validate,
    describe,
    judge,
    right_outputs,
    sample_images,
    sign_test,
)
from tests.project import ROOT

EMBEDDED = ROOT / "data" / "backbone" / "resnet10-glyphs.safetensors"
SIZES = {"resize": None, "crop": None, "letterbox": False, "cut": "layer", "candidates": {}, "download": False}
RESNET10 = BackboneParams(architecture="resnet10", weights=str(EMBEDDED), match="strict", **SIZES)


def table(labels, groups=None):
    numbers = [f"{number:04d}" for number in range(len(labels))]
    rows = pd.DataFrame({Column.PATH: numbers, Column.LABEL: labels, Column.PIXEL_HASH: numbers})
    return rows.assign(**{Column.GROUP: numbers if groups is None else [f"group {group}" for group in groups]})


def features(rng, side_N, kind_N, width=8):
    """Draws features of images and mirror images, (N, D) each: a handedness of -1, 0 or 1, and a kind of object."""
    kinds = rng.normal(size=(int(kind_N.max()) + 1, width)) * 2
    original_ND = kinds[kind_N] + rng.normal(size=(len(kind_N), width))
    mirrored_ND = original_ND + 0.3 * rng.normal(size=original_ND.shape)
    hand_N = 4.0 * side_N + rng.normal(size=len(side_N))
    pair = (np.column_stack([hand_N, original_ND]), np.column_stack([-hand_N, mirrored_ND]))
    return tuple(part.astype(np.float32) for part in pair)


def outcome(labels, both, groups=None):
    rows, names = table(labels, groups), sorted(set(labels))
    truth_N = np.array([names.index(label) for label in labels])
    return judge(rows, truth_N, names, cross_validate(*both, truth_N, folds_by_group(rows)))


def lettered(numbers):
    return [f"class {number}" for number in numbers]


@pytest.mark.parametrize("count", [40, 100, 400])
def test_classes_that_differ_in_handedness_alone_turn_flips_off(count):
    rng, y_N = np.random.default_rng(count), np.arange(count) % 2
    check = outcome(lettered(y_N), features(rng, 2 * y_N - 1, np.zeros(count, int)))
    assert (check.outcome, check.original >= 0.9, check.mirrored <= 0.1) == ("off", True, True)
    assert check.classes == ("class 0", "class 1")
    assert "augment.flip is turned off" in describe(check)
    assert "augment.check: false" in describe(check)


@pytest.mark.parametrize("count", [40, 100, 400])
@pytest.mark.parametrize("classes", [2, 5])
def test_classes_without_handedness_keep_flips(count, classes):
    rng, y_N = np.random.default_rng(count), np.arange(count) % classes
    check = outcome(lettered(y_N), features(rng, np.zeros(count), y_N))
    assert (check.outcome, check.classes) == ("kept", ())
    assert f"trained on both, {check.with_copies:.0%} of the images" in describe(check)


def test_a_handedness_that_does_not_name_the_class_keeps_flips():
    """As of photographs of which most show an animal that looks to the left."""
    rng, y_N = np.random.default_rng(0), np.arange(200) % 2
    assert outcome(lettered(y_N), features(rng, np.ones(200), y_N)).outcome == "kept"


def test_one_handed_pair_among_many_classes_is_found():
    """Over all images, hits fall by a twentieth only."""
    rng, y_N = np.random.default_rng(1), np.arange(400) % 20
    side_N = np.where(y_N == 0, -1, np.where(y_N == 1, 1, 0))
    check = outcome(lettered(y_N), features(rng, np.where(y_N == 1, 0.2, side_N), np.where(y_N == 1, 0, y_N)))
    assert check.original - check.mirrored <= 0.1
    assert (check.outcome, check.classes) == ("off", ("class 0",))


def test_one_handed_class_of_two_is_found():
    """Class 0 looks to the left; class 1 is of anything else, seldom of its mirror image."""
    rng, y_N = np.random.default_rng(2), np.arange(200) % 2
    side_N = np.where(y_N == 0, -1, np.where(np.arange(200) % 20 == 1, 1, 0))
    check = outcome(lettered(y_N), features(rng, side_N, np.zeros(200, int)))
    assert (check.outcome, check.classes) == ("off", ("class 0",))


@pytest.mark.parametrize("seed", range(5))
def test_random_labels_are_not_above_chance(seed):
    rng = np.random.default_rng(seed)
    check = outcome(lettered(rng.integers(0, 2, 100)), features(rng, np.zeros(100), rng.integers(0, 2, 100)))
    assert check.outcome == "undecided"
    assert "not above chance" in describe(check)


def test_a_frequent_class_is_chance():
    """A probe that always answers the frequent class is right on 90% of the images."""
    rng, y_N = np.random.default_rng(3), np.arange(200) % 10 == 0
    assert outcome(lettered(y_N.astype(int)), features(rng, np.zeros(200), np.zeros(200, int))).outcome == "undecided"


def test_sets_without_handedness_raise_no_false_alarm():
    outcomes = set()
    for seed in range(20):
        rng, y_N = np.random.default_rng(seed), np.arange(40) % 2
        weak = tuple(part / 4 for part in features(rng, rng.normal(size=40) / 4, y_N))
        outcomes.add(outcome(lettered(y_N), weak).outcome)
    assert "off" not in outcomes


def test_images_of_a_group_are_one_observation():
    """One burst of 100 shots, held out at once, is no proof; the same images, taken one by one, are."""
    rng, y_N = np.random.default_rng(4), np.arange(120) % 2
    both = features(rng, 2 * y_N - 1, np.zeros(120, int))
    assert outcome(lettered(y_N), both).outcome == "off"
    assert outcome(lettered(y_N), both, np.arange(120) // 20).outcome != "off"


def test_at_most_three_classes_are_named():
    check = FlipCheck(outcome="off", images=90, original=0.9, mirrored=0.4, with_copies=0.9, classes=tuple("bdpq"))
    assert "fewer of b, d, p, ... (" in describe(check)
    assert "fewer of b, d, p (" in describe(check.model_copy(update={"classes": tuple("bdp")}))
    assert "fewer" not in describe(check.model_copy(update={"classes": ()}))


@pytest.mark.parametrize(("first", "second"), [(9, 1), (5, 5), (0, 7), (0, 0), (12, 0)])
def test_the_sign_test_of_single_images_is_mcnemars(first, second):
    a = np.array([True] * first + [False] * second + [True] * 3, dtype=bool)
    b = np.array([False] * first + [True] * second + [True] * 3, dtype=bool)
    expected = binomtest(first, first + second, alternative="greater").pvalue if first + second else 1.0
    assert sign_test(a, b, np.arange(len(a))) == pytest.approx(expected)
    assert sign_test(a, b, np.zeros(len(a))) == (0.5 if first > second else 1.0)


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 90)), min_size=1, max_size=600), st.randoms())
def test_a_sample_takes_classes_in_turn_and_is_the_same_in_any_order(pairs, random):
    rows = table([f"{label}" for label, _ in pairs], [group for _, group in pairs])
    sample = sample_images(rows)
    counts, present = sample[Column.LABEL].value_counts(), rows[Column.LABEL].value_counts()
    assert len(sample) <= SAMPLE_SIZE
    assert len(counts) == min(len(present), MAX_CLASSES)
    smaller = [name for name in counts.index if counts[name] < counts.max() - 1]
    assert (counts[smaller] == present[smaller]).all(), "a class gives fewer images only if it has no more"
    shuffled = sample_images(rows.iloc[random.sample(range(len(rows)), len(rows))])
    pd.testing.assert_frame_equal(shuffled, sample)


def test_a_sample_takes_groups_in_turn():
    rows = table(["a"] * 900, [0] * 700 + [1] * 150 + [2] * 50)
    assert sample_images(rows)[Column.GROUP].value_counts().to_dict() == {"group 0": 200, "group 1": 150, "group 2": 50}


def test_labels_are_checked_one_by_one():
    """A label of handed images and one of others: only the first falls."""
    rng = np.random.default_rng(5)
    has_NC = np.array([[n % 2, n // 2 % 2] for n in range(200)])
    original, mirrored = features(rng, 2 * has_NC[:, 0] - 1, has_NC[:, 1])
    rows = table(["|".join(map(str, has)) for has in has_NC])
    fold_N, names = folds_by_group(rows), ("left", "tall")
    check = judge(rows, has_NC, names, cross_validate(original, mirrored, has_NC, fold_N))
    assert (check.outcome, check.classes) == ("off", ("left",))
    assert judge(rows, has_NC, names, cross_validate(original, original, has_NC, fold_N)).outcome == "kept"


def test_the_outputs_of_both_confused_classes_are_wrong():
    right = right_outputs(np.eye(3), np.array([0, 2, 2]))
    np.testing.assert_array_equal(right, [[True] * 3, [True, False, False], [True] * 3])


def test_labels_are_right_one_by_one():
    right = right_outputs(np.array([[0.9, 0.1], [0.6, 0.8]]), np.array([[1, 0], [0, 1]]))
    np.testing.assert_array_equal(right, [[True, True], [False, True]])


def letter(rng, is_d, side=40):
    """Draws a b or a d: a stem with a bowl on its right or left."""
    image = Image.new("L", (side, side))
    x, y, size, pen = *rng.uniform((12, 6), (16, 10)), rng.uniform(5, 8), ImageDraw.Draw(image)
    width = int(rng.integers(2, 5))
    pen.line((x, y, x, y + 3 * size), fill=255, width=width)
    pen.ellipse((x, y + size, x + 2 * size, y + 3 * size), outline=255, width=width)
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if is_d else image


def blob(rng, is_tall, side=40):
    """Draws a tall or a flat ellipse."""
    image = Image.new("L", (side, side))
    x, y, w, h = *rng.uniform(16, 24, 2), *((5, 14) if is_tall else (14, 5))
    ImageDraw.Draw(image).ellipse((x - w, y - h, x + w, y + h), fill=int(rng.integers(120, 255)))
    return image


def texture(rng, is_coarse, side=40):
    """Draws crumpled metal: smooth noise of one of two grain sizes, with a gradient of light from a random side."""
    grain = int(rng.integers(5, 8) if is_coarse else rng.integers(14, 20))
    noise = Image.fromarray(rng.integers(0, 255, (grain, grain), dtype=np.uint8)).resize((side, side))
    light = np.linspace(0, rng.uniform(-80, 80), side)
    return Image.fromarray((np.asarray(noise) * 0.6 + 80 + light).clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def embedded():
    return frozen_backbone(EMBEDDED, RESNET10)


@pytest.mark.parametrize(("draw", "expected"), [(letter, "off"), (blob, "kept"), (texture, "kept")])
def test_drawn_images_on_the_embedded_backbone(embedded, draw, expected, tmp_path):
    rng = np.random.default_rng(0)
    rows = table([str(n % 2) for n in range(40)])
    for number, path in enumerate(rows[Column.PATH]):
        draw(rng, number % 2).save(tmp_path / path, "PNG")
    target = TargetSpec(TargetKind.CLASSIFICATION, ("0", "1"))
    check = compare_mirrored(tmp_path, rows, target, embedded, choose("cpu", "float32"), 16)
    assert check.outcome == expected, describe(check)
    few = compare_mirrored(tmp_path, rows.head(9), target, embedded, choose("cpu", "float32"), 16)
    assert (few.outcome, few.original) == ("undecided", None)
    assert "too few" in describe(few)
