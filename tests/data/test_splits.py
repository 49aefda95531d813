from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.errors import DataRefusedError
from tasks.core.schema import Column, Split
from tasks.data.splits import LAYOUT, complete, label_and_split
from tests.errors import raises


def table(paths):
    rows = label_and_split(paths)
    return rows.assign(**{Column.GROUP: [f"g{path}" for path in paths]})


def splits(paths):
    return complete(table(paths), 0.15, 0.15)


def test_class_folders_give_labels_and_no_split():
    rows = label_and_split(["ant/a.jpg", "bee/x/b.jpg"])
    assert list(rows[Column.LABEL]) == ["ant", "bee"]
    assert rows[Column.SPLIT].isna().all()


def test_splits_of_the_source_are_kept():
    paths = ["train/ant/a.jpg", "Valid/ant/b.jpg", "testing/ant/c.jpg", "unlabeled/d.jpg", "unlabeled/sub/e.jpg"]
    rows = label_and_split(paths)
    assert list(rows[Column.LABEL]) == ["ant", "ant", "ant", None, None]
    assert list(splits(paths)) == ["train", "validation", "test", "unlabelled", "unlabelled"]


@pytest.mark.parametrize(
    "paths",
    [
        ["a.jpg"],
        ["ant/a.jpg", "b.jpg"],
        ["train/a.jpg", "test/ant/b.jpg"],
        ["train/ant/a.jpg", "ant/b.jpg"],
        ["val/ant/a.jpg", "test/ant/b.jpg"],
        ["train_images/ant/a.jpg", "test/ant/b.jpg"],
    ],
)
def test_other_layouts_are_refused_with_the_supported_ones_listed(paths):
    with raises(DataRefusedError, "folder-layout") as caught:
        label_and_split(paths)
    assert LAYOUT in str(caught.value)


def test_a_class_may_be_named_like_a_split():
    assert list(label_and_split(["test/a.jpg", "other/b.jpg"])[Column.LABEL]) == ["test", "other"]


def test_unlabeled_images_may_be_next_to_class_folders():
    paths = [f"{label}/{n}.jpg" for label in ("ant", "bee") for n in range(50)] + ["unlabelled/x.jpg"]
    rows, decided = label_and_split(paths), splits(paths)
    assert rows[Column.LABEL].iloc[-1] is None
    assert decided.iloc[-1] == Split.UNLABELED
    assert set(decided.iloc[:-1]) == {Split.TRAIN, Split.VALIDATION, Split.TEST}


def test_validation_is_test_where_there_is_no_test_and_a_fifth_of_train_validates():
    paths = [f"train/{label}/{n}.jpg" for label in ("ant", "bee") for n in range(20)]
    paths += [f"val/{label}/{n}.jpg" for label in ("ant", "bee") for n in range(7)]
    decided = splits(paths)
    assert decided.value_counts().to_dict() == {"train": 32, "test": 14, "validation": 8}
    by_class = pd.Series([path.split("/")[1] for path in paths])[decided == Split.VALIDATION].value_counts()
    assert by_class.to_dict() == {"ant": 4, "bee": 4}


def test_a_group_is_never_divided():
    rows = table([f"train/ant/{n}.jpg" for n in range(40)] + ["test/ant/t.jpg"])
    rows[Column.GROUP] = [f"g{n // 4}" for n in range(40)] + ["t"]
    decided = complete(rows, 0.15, 0.15)
    assert (decided.groupby(rows[Column.GROUP]).nunique() == 1).all()
    assert (decided == Split.VALIDATION).sum() == 8


@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=40, unique=True), st.integers(0, 39))
def test_an_image_never_changes_split_when_others_are_added(groups, cut):
    rows = pd.DataFrame({Column.LABEL: "a", Column.GROUP: groups, Column.SPLIT: None}, dtype=object)
    few = rows.iloc[: cut + 1]
    assert complete(rows, 0.15, 0.15).iloc[: cut + 1].equals(complete(few, 0.15, 0.15))


def test_hashed_splits_have_the_requested_sizes():
    rows = pd.DataFrame(
        {Column.LABEL: "a", Column.GROUP: [f"g{n}" for n in range(20_000)], Column.SPLIT: None}, dtype=object
    )
    shares = complete(rows, 0.1, 0.2).value_counts(normalize=True)
    assert shares[Split.VALIDATION] == pytest.approx(0.1, abs=0.01)
    assert shares[Split.TEST] == pytest.approx(0.2, abs=0.01)


def test_train_alone_is_split_by_hash_and_unlabeled_images_stay_unlabeled():
    decided = splits([f"train/ant/{n}.jpg" for n in range(200)] + ["unlabelled/x.jpg"])
    assert set(decided) == set(Split)
    assert decided.iloc[-1] == Split.UNLABELED


def test_in_multilabel_data_a_fifth_of_all_images_validates():
    """Most label combinations have a single image, which on its own would never be used for validation."""
    rows = pd.DataFrame({Column.LABEL: [f"a{n}; b" for n in range(50)], Column.GROUP: [f"g{n}" for n in range(50)]})
    rows[Column.SPLIT] = [Split.TEST if n < 10 else Split.TRAIN for n in range(50)]
    several = complete(rows.assign(**{"label:b": 1.0}), 0.15, 0.15)
    assert several.value_counts().to_dict() == {Split.TRAIN: 32, Split.TEST: 10, Split.VALIDATION: 8}
