from __future__ import annotations

import pandas as pd

from tasks.core.schema import Column, Split
from tasks.data.layout import read_layout
from tasks.data.splits import are_ours, completed


def table(paths):
    rows = read_layout(paths).rows
    return rows.assign(**{Column.GROUP: [f"g{path}" for path in paths]})


def test_splits_are_ours_if_the_source_has_none_or_only_train():
    assert are_ours(table(["ant/a.jpg", "bee/b.jpg"]))
    assert are_ours(table(["train/ant/a.jpg", "train/bee/b.jpg", "unlabelled/c.jpg"]))
    assert not are_ours(table(["train/ant/a.jpg", "test/ant/b.jpg"]))


def test_validation_is_test_where_there_is_no_test_and_a_fifth_of_train_validates():
    paths = [f"train/{label}/{n}.jpg" for label in ("ant", "bee") for n in range(20)]
    paths += [f"val/{label}/{n}.jpg" for label in ("ant", "bee") for n in range(7)]
    decided = completed(table(paths))
    assert decided.value_counts().to_dict() == {"train": 32, "test": 14, "validation": 8}
    by_class = pd.Series([path.split("/")[1] for path in paths])[decided == Split.VALIDATION].value_counts()
    assert by_class.to_dict() == {"ant": 4, "bee": 4}


def test_a_group_is_never_divided():
    rows = table([f"train/ant/{n}.jpg" for n in range(40)] + ["test/ant/t.jpg"])
    rows[Column.GROUP] = [f"g{n // 4}" for n in range(40)] + ["t"]
    decided = completed(rows)
    assert (decided.groupby(rows[Column.GROUP]).nunique() == 1).all()
    assert (decided == Split.VALIDATION).sum() == 8


def test_in_multilabel_data_a_fifth_of_all_images_validates():
    """Most label combinations have a single image, which on its own would never be used for validation."""
    rows = pd.DataFrame({Column.LABEL: [f"a{n}; b" for n in range(50)], Column.GROUP: [f"g{n}" for n in range(50)]})
    rows[Column.SPLIT] = [Split.TEST if n < 10 else Split.TRAIN for n in range(50)]
    several = completed(rows.assign(**{"label:b": 1.0}))
    assert several.value_counts().to_dict() == {Split.TRAIN: 32, Split.TEST: 10, Split.VALIDATION: 8}
