"""The quickest option within a paired standard error of the best is chosen."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.selection.candidates import BackboneCandidate
from tasks.selection.options import Option, options_of
from tasks.selection.rule import Scored, chosen, standard_error, within

LITE = BackboneCandidate("efficientnet_lite0", "a.weights", "a", "Apache-2.0")


def scored(hits, flops):
    return Scored(Option(LITE, 256, 224), np.array(hits, float), len(hits), flops)


def test_a_clearly_better_option_is_chosen_whatever_it_costs():
    good, bad = [1] * 18 + [0] * 2, [1] * 9 + [0] * 11
    assert chosen([scored(bad, 1), scored(good, 1000)]).flops == 1000


def test_among_equals_the_quickest_is_chosen():
    hits = [1] * 15 + [0] * 5
    other = [0] + [1] * 15 + [0] * 4  # one image less, one image more
    assert chosen([scored(hits, 9), scored(other, 5), scored(hits, 7)]).flops == 5
    assert chosen([scored([1] * 10, 9), scored([1] * 10, 5)]).flops == 5, "the difference has no error"


def test_the_error_is_paired():
    """Two options differ in 3 of 100 images, all in one direction: a score has an error of 5 points, the gap of 2."""
    best, other = [1] * 50 + [0] * 50, [0] * 3 + [1] * 47 + [0] * 50
    gap = np.array(best) - np.array(other)
    assert standard_error(gap) == pytest.approx(0.0171, abs=1e-4)
    assert chosen([scored(best, 2), scored(other, 1)]).flops == 2
    assert len(within([scored(best, 2), scored(other, 1)], 2.0)) == 2


def test_a_score_of_one_part_has_no_error():
    assert standard_error(np.array([0.5])) == float("inf")


def test_smaller_sizes_still_resolve_the_images():
    sizes = [option.crop for option in options_of(LITE, (256, 224), median_side=32, images=1000)]
    assert sizes == [224, 192, 160, 128, 96]
    assert [option.crop for option in options_of(LITE, (256, 224), 50, 1000)] == [224, 192, 160]
    assert [option.crop for option in options_of(LITE, (256, 224), 400, 1000)] == [224]
    assert [option.resize for option in options_of(LITE, (256, 224), 60, 1000)] == [256, 219]


def test_few_images_and_networks_of_one_size_have_one_option():
    assert len(options_of(LITE, (256, 224), 32, images=39)) == 1
    vit = BackboneCandidate("vit_b_16", "b.weights", "b", "")
    assert len(options_of(vit, (256, 224), 32, images=1000)) == 1
