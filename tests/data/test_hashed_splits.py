"""Splits with memory: no image moves, and every class of three or more groups has images in every split."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.schema import Column, Split
from tasks.data.hashed_splits import NO_TRAINING, OTHER_SPLIT, TWO_SPLITS, assign, by_hash
from tasks.data.split_memory import read_memory, splits_of, write_memory

LABELED = (Split.TRAIN, Split.VALIDATION, Split.TEST)


def images(counts, seed=0):
    """Returns a row per image: `counts` images of each class, with pixel hashes that depend on the seed."""
    names = [(label, f"{seed}/{label}/{number}") for label, count in counts.items() for number in range(count)]
    rows = pd.DataFrame(names, columns=[Column.LABEL, Column.PIXEL_HASH])
    return rows.assign(**{Column.GROUP: rows[Column.PIXEL_HASH], Column.QUARANTINE: None})


def decided(rows, memory=None, pairs=(), validation=0.15, test=0.15):
    """Returns the rows with their splits, groups and reasons."""
    answer = assign(rows.reset_index(drop=True), memory or {}, pairs, validation, test)
    columns = {Column.SPLIT: answer.split, Column.GROUP: answer.group, Column.QUARANTINE: answer.left_out}
    return rows.reset_index(drop=True).assign(**columns)


def lacking(rows):
    """Returns the classes of three or more groups that have no image in some split."""
    table = pd.crosstab(rows[Column.LABEL], rows[Column.SPLIT]).reindex(columns=list(LABELED), fill_value=0)
    groups = rows.groupby(Column.LABEL)[Column.GROUP].nunique()
    return list(table.index[(table.min(axis=1) == 0) & (groups >= 3)])


def moved(rows, memory):
    remembered = rows[Column.PIXEL_HASH].map(memory)
    return int((remembered.notna() & (remembered != rows[Column.SPLIT])).sum())


def grown(memory, rows):
    return {**splits_of(rows), **memory}


SIZES = {f"{classes}x{count}": (classes, count) for classes, count in [(3, 8), (10, 10), (37, 25), (100, 20)]}


@pytest.mark.parametrize(("classes", "count"), SIZES.values(), ids=SIZES)
def test_no_class_lacks_a_split_whatever_the_hash_says(classes, count):
    shares = []
    for seed in range(20):
        rows = decided(images({f"c{n}": count for n in range(classes)}, seed))
        assert lacking(rows) == []
        assert rows[Column.QUARANTINE].isna().all()
        shares.append((rows[Column.SPLIT] == Split.TEST).mean())
    assert np.mean(shares) == pytest.approx(0.15, abs=0.04)


def grow(seed, sizes, classes=3):
    """Returns how many images move and how many classes lack a split while a data set grows from one size to others."""
    memory, moves, lacks = {}, 0, 0
    for count in sizes:
        rows = decided(images({f"c{n}": count for n in range(classes)}, seed), memory)
        moves, lacks = moves + moved(rows, memory), lacks + len(lacking(rows))
        memory = grown(memory, rows)
    return moves, lacks


def test_growing_sets_keep_their_splits():
    assert {grow(seed, (3, 8, 20, 60)) for seed in range(10)} == {(0, 0)}


@pytest.mark.slow
def test_forty_sets_grow_from_eight_to_a_thousand_images_a_class():
    assert {grow(seed, (8, 12, 20, 50, 200, 1000)) for seed in range(40)} == {(0, 0)}


def test_images_that_are_deleted_and_added_again_keep_their_splits():
    for seed in range(20):
        whole = images({"a": 12, "b": 12}, seed)
        first = decided(whole)
        memory = splits_of(first)
        fewer = decided(whole[whole[Column.PIXEL_HASH].map(lambda name: int(name[-1]) % 2 == 0)], memory)
        again = decided(whole, grown(memory, fewer))
        assert moved(fewer, memory) == 0
        assert again[Column.SPLIT].equals(first[Column.SPLIT])


def test_two_worktrees_that_take_turns_keep_each_others_splits():
    for seed in range(20):
        memory, moves = {}, 0
        for turn in range(8):
            rows = images({"a": 5 + turn, "b": 6 + 2 * turn}, seed)
            rows = decided(rows[turn % 2 :: 1 + turn % 2], memory)
            moves += moved(rows, memory)
            memory = grown(memory, rows)
        assert moves == 0


@st.composite
def sets(draw):
    labels = st.sampled_from("abc")
    groups = st.integers(0, 12)
    rows = draw(st.lists(st.tuples(labels, groups), min_size=1, max_size=30))
    table = pd.DataFrame(rows, columns=[Column.LABEL, Column.GROUP])
    table[Column.GROUP] = [f"{label}{group}" for label, group in rows]
    table[Column.PIXEL_HASH] = [f"p{number}" for number in range(len(rows))]
    count = len(rows) - 1
    pairs = draw(st.lists(st.tuples(st.integers(0, count), st.integers(0, count)), max_size=6))
    past = draw(st.dictionaries(st.sampled_from(list(table[Column.PIXEL_HASH])), st.sampled_from(LABELED), max_size=8))
    return table.assign(**{Column.QUARANTINE: None}), {name: split.value for name, split in past.items()}, pairs


@given(sets())
def test_an_image_of_a_version_keeps_its_split_and_no_group_is_divided(drawn):
    table, memory, pairs = drawn
    rows = decided(table, memory, pairs)
    kept = rows[rows[Column.QUARANTINE].isna()]
    assert moved(kept, memory) == 0
    assert (kept.groupby(Column.GROUP)[Column.SPLIT].nunique() == 1).all()
    assert (kept.groupby(table[Column.GROUP])[Column.SPLIT].nunique() == 1).all()
    for a, b in pairs:
        if {a, b} <= set(kept.index) and not {*rows[Column.PIXEL_HASH][[a, b]]} <= memory.keys():
            both = {*table[Column.GROUP][[a, b]]}
            if not table[Column.PIXEL_HASH][table[Column.GROUP].isin(both)].isin(memory.keys()).any():
                assert rows[Column.SPLIT][a] == rows[Column.SPLIT][b]


@given(sets())
def test_a_second_run_decides_as_the_first(drawn):
    table, memory, pairs = drawn
    first = decided(table, memory, pairs)
    pd.testing.assert_frame_equal(decided(table, grown(memory, first), pairs), first)


@given(sets())
def test_no_class_lacks_a_split_without_a_memory(drawn):
    table, _, _ = drawn
    rows = decided(table)
    assert lacking(rows) == []
    assert rows[Column.QUARANTINE].isna().all()


def test_without_a_memory_the_hash_decides_as_before():
    rows = decided(images({"a": 200, "b": 200}))
    assert list(rows[Column.SPLIT]) == [by_hash(group, 0.15, 0.15) for group in rows[Column.GROUP]]


def test_a_class_of_one_or_two_images_is_trained_on():
    for seed in range(30):
        rows = decided(images({"a": 20, "b": 1, "c": 2}, seed))
        train = rows[rows[Column.SPLIT] == Split.TRAIN]
        assert set(train[Column.LABEL]) == {"a", "b", "c"}


def test_only_images_that_no_version_has_are_promoted():
    rows = images({"a": 3, "b": 9})
    memory = dict.fromkeys(rows[Column.PIXEL_HASH][:3], "train")
    kept = decided(rows, memory)
    assert list(kept[Column.SPLIT][:3]) == ["train"] * 3
    assert lacking(kept) == ["a"]
    more = decided(images({"a": 5, "b": 9}), memory)
    assert moved(more, memory) == 0
    assert lacking(more) == []


def test_a_class_whose_training_images_are_gone_is_left_out():
    rows = images({"a": 2, "b": 9})
    kept = decided(rows, {"0/a/0": "test", "0/a/1": "validation"})
    assert list(kept[Column.QUARANTINE][:2]) == [NO_TRAINING] * 2
    assert kept[Column.QUARANTINE][2:].isna().all()


def test_near_duplicates_are_one_group():
    rows = images({"a": 30})
    pairs = [(number, number + 1) for number in range(0, 30, 2)]
    kept = decided(rows, {}, pairs)
    assert kept[Column.GROUP].nunique() == 15
    assert all(kept[Column.SPLIT][a] == kept[Column.SPLIT][b] for a, b in pairs)


def test_a_near_duplicate_of_an_image_of_a_version_joins_its_split():
    rows = images({"a": 12})
    for split in LABELED:
        assert decided(rows, {"0/a/3": split.value}, [(3, 7)])[Column.SPLIT][7] == split


def test_an_image_whose_near_duplicates_are_in_two_splits_is_left_out():
    rows, memory = images({"a": 12}), {"0/a/0": "train", "0/a/1": "test"}
    direct = decided(rows, memory, [(0, 2), (1, 2)])
    chain = decided(rows, memory, [(0, 2), (2, 3), (3, 1)])
    assert list(direct.index[direct[Column.QUARANTINE] == TWO_SPLITS]) == [2]
    assert list(chain.index[chain[Column.QUARANTINE] == TWO_SPLITS]) == [2, 3]
    assert list(direct[Column.SPLIT][:2]) == list(chain[Column.SPLIT][:2]) == ["train", "test"]


def test_images_of_versions_keep_their_splits_even_if_they_are_near_duplicates():
    rows, memory = images({"a": 12}), {"0/a/0": "train", "0/a/1": "test"}
    kept = decided(rows, memory, [(0, 1)])
    assert list(kept[Column.SPLIT][:2]) == ["train", "test"]
    assert kept[Column.QUARANTINE].isna().all()


def test_a_group_that_versions_have_in_two_splits_stays_where_most_of_it_is():
    rows = images({"a": 12}).assign(**{Column.GROUP: ["patient"] * 4 + [f"p{n}" for n in range(8)]})
    kept = decided(rows, {"0/a/0": "test", "0/a/1": "train", "0/a/2": "test"})
    assert list(kept[Column.QUARANTINE][:4].fillna("")) == ["", OTHER_SPLIT, "", ""]
    assert set(kept[Column.SPLIT][[0, 2, 3]]) == {"test"}


def test_groups_of_the_source_join_near_duplicates():
    rows = images({"a": 12}).assign(**{Column.GROUP: [f"g{n // 2}" for n in range(12)]})
    kept = decided(rows, {}, [(1, 2)])
    assert kept[Column.GROUP].nunique() == 5
    assert kept[Column.SPLIT][:4].nunique() == 1


def test_every_label_of_several_has_images_in_every_split():
    for seed in range(20):
        random = np.random.default_rng(seed)
        rows = images({"x": 60}, seed).assign(**{f"label:{name}": random.integers(0, 2, 60) for name in "abc"})
        rows["label:rare"] = [1.0 if number < 3 else 0.0 for number in range(60)]
        kept = decided(rows)
        table = kept.groupby(Column.SPLIT)[["label:a", "label:b", "label:c", "label:rare"]].sum()
        assert set(table.index) == set(LABELED)
        assert (table > 0).to_numpy().all()


def test_targets_have_images_in_every_split():
    for seed in range(40):
        rows = images({"x": 5}, seed).assign(**{Column.LABEL: None, "target:size": 1.0})
        assert set(decided(rows)[Column.SPLIT]) == set(LABELED)


def test_the_memory_survives_a_file(tmp_path):
    assert read_memory(tmp_path / "splits.csv") == {}
    memory = {"b": "train", "a": "test"}
    write_memory(tmp_path / "splits.csv", memory)
    assert (tmp_path / "splits.csv").read_text() == "pixel_hash,split\na,test\nb,train\n"
    assert read_memory(tmp_path / "splits.csv") == memory
