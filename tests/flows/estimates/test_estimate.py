"""Estimates grow with images, views and passes, and repeat what was measured."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.estimates.estimate import Setting, estimate, held
from flows.estimates.measured import Measured, read_measured
from flows.estimates.work import GROWS_WITH, work
from tasks.core.files import write_json
from tasks.core.params import read_document, values_of
from tasks.core.schema import STAGES
from tasks.core.sizing import SizingParams
from tasks.core.supervision import measured_file
from tasks.data.counts import Counts
from tests.project import ROOT

COUNTS = Counts(images=1797, train=100, validation=100, test=797)
SETTING = Setting(bytes_per_image=140.0, outputs=10, side=64, weights=20_000_000)
VALUES = dict(values_of(read_document(ROOT / "params.yaml"), SizingParams.sections()))


def sizing(**changes):
    return SizingParams.model_validate({**VALUES, **changes})


def took(stage, *, done=None, peak_mib=800.0):
    report = {"width": 512} if stage == "features" else {}
    return Measured(seconds=10.0, peak_mib=peak_mib, report=report, counts=COUNTS, params=sizing(), done=done)


MEASURED = {stage: took(stage) for stage in STAGES}
many = st.integers(1, 10**7)


def test_the_same_run_is_estimated_to_take_what_it_took():
    again = estimate(COUNTS, sizing(), SETTING, MEASURED)
    assert again.seconds == dict.fromkeys(STAGES, 10.0)
    assert again.memory == dict.fromkeys(STAGES, 800 * 2**20)
    assert again.disk["features"] == 512 * 4 * 1197


@given(many, many, st.integers(0, 16), st.integers(0, 16))
def test_time_and_disk_grow_with_images_and_views(some, more, few_views, more_views):
    (some, more), (few_views, more_views) = sorted((some, more)), sorted((few_views, more_views))
    small = estimate(COUNTS.scaled_to(some), sizing(**{"features.views": few_views}), SETTING, MEASURED)
    large = estimate(COUNTS.scaled_to(more), sizing(**{"features.views": more_views}), SETTING, MEASURED)
    assert all(small.seconds[stage] <= large.seconds[stage] for stage in STAGES)
    assert all(small.disk[what] <= large.disk[what] for what in small.disk)
    assert all(small.memory[stage] <= large.memory[stage] for stage in STAGES if stage != "finetune")


@pytest.mark.parametrize("stage", GROWS_WITH)
def test_what_grows_with_images_takes_ten_times_as_long_for_many(stage):
    many, more = COUNTS.scaled_to(10**6), COUNTS.scaled_to(10**7)
    assert work(stage, more, sizing()) == pytest.approx(10 * work(stage, many, sizing()), rel=0.03)


def test_passes_decide_on_the_time_of_fine_tuning():
    fixed = {"recipe": "fixed", "epochs": 80}
    doubled = estimate(COUNTS, sizing(finetune={**VALUES["finetune"], **fixed}), SETTING, MEASURED)
    assert doubled.seconds["finetune"] == pytest.approx(20.0)
    assert doubled.seconds["evaluate"] == 10.0


def test_features_from_the_store_are_not_taken_for_fast_ones():
    measured = {"features": took("features", done=600)}
    assert estimate(COUNTS, sizing(), SETTING, measured).seconds["features"] == pytest.approx(19.95)
    for done in (0, 500):  # most of the time was not spent on these
        assert estimate(COUNTS, sizing(), SETTING, {"features": took("features", done=done)}).seconds == {}


def test_nothing_is_estimated_that_was_not_measured():
    nothing = estimate(COUNTS, sizing(), SETTING, {})
    assert (nothing.seconds, nothing.memory) == ({}, {})
    assert "features" not in nothing.disk


def test_decoded_images_are_held_only_if_all_of_a_split_fit():
    fitting, too_many = COUNTS.scaled_to(100_000), COUNTS.scaled_to(10**7)
    table = 300 * fitting.images
    assert held("finetune", fitting, sizing(), SETTING) == table + 3 * 64**2 * (fitting.train + fitting.validation)
    assert held("finetune", too_many, sizing(), SETTING) == 300 * too_many.images
    unused = sizing(finetune={**VALUES["finetune"], "epochs": 0})
    assert held("finetune", fitting, unused, SETTING) == table
    assert held("evaluate", fitting, sizing(), SETTING) == table + 4 * 10 * 3 * fitting.test


@pytest.mark.parametrize("damage", ["{", "[]", '{"seconds": 1}', '{"seconds": "x"}'])
def test_a_measurement_that_cannot_be_read_is_none(paths, damage):
    for stage in ("head", "features"):
        write_json(measured_file(paths, stage), took(stage).model_dump(mode="json", by_alias=True))
    assert read_measured(paths) == {"features": took("features"), "head": took("head")}
    measured_file(paths, "head").write_text(damage)
    assert [*read_measured(paths)] == ["features"]
