"""The golden picture of a version."""

from __future__ import annotations

import math

import pytest

from tasks.serving.golden import Golden

ROW = {"label": "b", "probability": 0.75, "confident": True, "distribution": {"a": 0.25, "b": 0.75}}


def test_it_is_read_as_it_was_written(tmp_path):
    golden = Golden.of(b"picture", ROW)
    assert golden.write(tmp_path) == tmp_path / "golden"
    assert Golden.read(tmp_path) == golden
    assert Golden.read(tmp_path / "elsewhere") is None


def test_the_difference_is_the_largest_one_of_a_probability():
    other = {**ROW, "distribution": {"a": 0.2, "b": 0.8}}
    assert Golden.of(b"", ROW).difference(ROW) == 0
    assert Golden.of(b"", ROW).difference(other) == pytest.approx(0.05)


@pytest.mark.parametrize(
    "other",
    [
        {**ROW, "label": "a"},
        {**ROW, "distribution": {"a": 0.25, "c": 0.75}},
        {**ROW, "distribution": {"a": 0.25, "b": math.nan}},
    ],
)
def test_another_label_other_classes_and_nan_differ_infinitely(other):
    assert Golden.of(b"", ROW).difference(other) == math.inf


def test_targets_differ_by_their_standard_deviations():
    golden = Golden.of(b"", {"width": 3.0, "height": 10.0}, {"width": 2.0, "height": 100.0})
    assert golden.difference({"width": 4.0, "height": 60.0}) == pytest.approx(0.5)
