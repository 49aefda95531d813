"""Cross-validated probes on drawn features: held-out images alone count, and groups stay together."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.schema import HAS, TARGET, Column, Split
from tasks.core.target import TargetKind, TargetSpec
from tasks.selection.probe import problem_of, score_parts
from tasks.selection.sample import labeled, sample

CLASSES = TargetSpec(classes=("a", "b"))


def rows_of(labels, groups=None):
    count = len(labels)
    group = [f"g{number}" for number in (groups or range(count))]
    return pd.DataFrame(
        {
            Column.LABEL: labels,
            Column.GROUP: group,
            Column.PIXEL_HASH: [f"p{number}" for number in range(count)],
            Column.SPLIT: Split.TRAIN.value,
            Column.QUARANTINE: None,
        }
    )


def features_of(labels, gap, width=8, seed=0):
    rng = np.random.default_rng(seed)
    x_ND = rng.normal(size=(len(labels), width))
    x_ND[:, 0] += gap * (np.array(labels) == "b")
    return torch.from_numpy(x_ND).float()


def test_features_that_separate_the_classes_score_high_and_noise_at_chance():
    labels = ["a", "b"] * 100
    problem = problem_of(rows_of(labels), CLASSES)
    assert score_parts(features_of(labels, 6), problem).mean() > 0.97
    assert 0.35 < score_parts(features_of(labels, 0), problem).mean() < 0.65
    assert len(score_parts(features_of(labels, 0), problem)) == 200


def test_copies_in_one_group_do_not_raise_the_score():
    """Each random feature occurs four times with its label: held-out copies in other folds would be recognized."""
    labels = [label for label in np.random.default_rng(0).choice(["a", "b"], 50) for _ in range(4)]
    x_ND = torch.randn(50, 64).repeat_interleave(4, 0)
    grouped = problem_of(rows_of(labels, [number // 4 for number in range(200)]), CLASSES)
    alone = problem_of(rows_of(labels), CLASSES)
    assert score_parts(x_ND, alone).mean() > 0.9
    assert score_parts(x_ND, grouped).mean() < 0.7


@given(sizes=st.lists(st.integers(2, 9), min_size=2, max_size=5), seed=st.integers(0, 9))
def test_every_image_is_in_one_fold_with_its_group(sizes, seed):
    labels = [f"c{number}" for number, size in enumerate(sizes) for _ in range(size)]
    groups = np.random.default_rng(seed).integers(0, max(len(labels) // 2, 2), len(labels)).tolist()
    groups[:2] = [0, 1]
    rows = rows_of(labels, groups)
    fold_N = problem_of(rows, TargetSpec(classes=tuple(sorted(set(labels))))).fold_N
    assert fold_N.min() == 0
    assert fold_N.max() < 5
    assert pd.Series(fold_N).groupby(rows[Column.GROUP]).nunique().max() == 1


def test_targets_are_scored_by_what_is_explained():
    rng = np.random.default_rng(0)
    x_ND = rng.normal(size=(200, 4))
    y_N = 3 * x_ND[:, 0] + 10
    rows = rows_of([None] * 200).assign(**{f"{TARGET}size": y_N})
    target = TargetSpec(TargetKind.REGRESSION, targets=("size",), mean_K=(y_N.mean(),), std_K=(y_N.std(),))
    problem = problem_of(rows, target)
    assert score_parts(torch.from_numpy(x_ND).float(), problem).mean() > 0.95
    assert score_parts(torch.randn(200, 4), problem).mean() < 0.2


def test_several_labels_are_scored_by_average_precision():
    rng = np.random.default_rng(0)
    y_NC = rng.integers(0, 2, (200, 2)).astype(float)
    rows = rows_of(["x"] * 200).assign(**{f"{HAS}a": y_NC[:, 0], f"{HAS}b": y_NC[:, 1]})
    problem = problem_of(rows, TargetSpec(TargetKind.MULTILABEL, classes=("a", "b")))
    x_ND = torch.from_numpy(np.concatenate([4 * y_NC, rng.normal(size=(200, 3))], 1)).float()
    assert score_parts(x_ND, problem) == pytest.approx(np.ones(5), abs=0.02)
    assert score_parts(torch.randn(200, 4), problem).mean() < 0.7


def test_a_sample_is_balanced_and_contains_the_smaller_one():
    rows = rows_of(["a"] * 500 + ["b"] * 50 + ["c"] * 20)
    small, large = sample(rows, 90), sample(rows, 300)
    assert small[Column.LABEL].value_counts().to_dict() == {"a": 35, "b": 35, "c": 20}
    assert set(small[Column.PIXEL_HASH]) < set(large[Column.PIXEL_HASH])
    shuffled = sample(rows.sample(frac=1, random_state=1), 90)
    assert set(shuffled[Column.PIXEL_HASH]) == set(small[Column.PIXEL_HASH])


def test_of_many_classes_some_are_taken_with_several_images_each():
    rows = rows_of([f"c{number % 500}" for number in range(3000)])
    counts = sample(rows, 300)[Column.LABEL].value_counts()
    assert len(counts) == 60
    assert set(counts) == {5}


def test_only_labeled_images_outside_of_test_are_compared():
    rows = pd.concat([rows_of(["a"] * 3).assign(split=split.value) for split in Split], ignore_index=True)
    rows.loc[0, Column.QUARANTINE] = "broken"
    assert labeled(rows)[Column.SPLIT].tolist() == ["train"] * 2 + ["validation"] * 3
