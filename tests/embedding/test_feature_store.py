from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.errors import RootstockError
from tasks.embedding import feature_store
from tasks.embedding.feature_store import FeatureStore, write_shard
from tasks.embedding.key_index import KeyIndex, keys_of
from tasks.hardware.heap import trimmed
from tests.errors import raises

CONTEXT = {"weights": "abc", "dtype": "float32"}


def keys(count, start=0):
    return keys_of([f"file {n}" for n in range(start, start + count)], np.tile([0.0, 1.0], (count, 1)))


def rows(count, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(count, 4)).astype(np.float32))


def add(store, key_N2, x_ND):
    """Adds rows, as another process would."""
    store.append(write_shard(store.folder, key_N2, x_ND))


def has(store, *asked):
    """Returns whether each of the keys by these numbers is in the store."""
    return [not store.missing(keys(1, number)).any() for number in asked]


def test_rows_are_returned_in_the_requested_order(tmp_path):
    store, matrix = FeatureStore(tmp_path, CONTEXT), rows(5)
    add(store, keys(2), matrix[:2])
    add(store, keys(3, 2), matrix[2:])
    for opened in (store, FeatureStore(tmp_path, CONTEXT)):
        assert torch.equal(opened[keys(5)[::-1].copy()], matrix.flip(0))
        assert torch.equal(opened[keys(5)[[1, 1, 4]]], matrix[[1, 1, 4]])
        assert has(opened, 9) == [False]
        assert opened.count_missing(keys(9)) == 4
        with raises(RootstockError, "features-removed"):
            opened[keys(9)]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells which memory is mapped from files")
def test_rows_stay_in_their_files(tmp_path):
    """Of 40 MB that were written and read again in parts, a fraction is in memory that is not mapped."""
    store = FeatureStore(tmp_path, CONTEXT)
    for number in trimmed(range(10)):
        add(store, keys(1000, 1000 * number), torch.ones(1000, 1000))
    before = anonymous_memory()
    opened = FeatureStore(tmp_path, CONTEXT)
    total = sum(opened[keys(1000, 1000 * number)].sum().item() for number in trimmed(range(10)))
    assert total == 10_000 * 1000
    assert anonymous_memory() - before < 20 * 2**20


def anonymous_memory():
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


def test_contexts_do_not_share_rows(tmp_path):
    add(FeatureStore(tmp_path, CONTEXT), keys(2), rows(2))
    assert has(FeatureStore(tmp_path, {**CONTEXT, "weights": "other"}), 0) == [False]


def test_the_key_depends_on_image_and_view():
    files, draws = ["a", "a", "b", "a"], np.array([[0.0], [0.5], [0.0], [-0.0]])
    assert len({key.tobytes() for key in keys_of(files, draws)}) == 4


@given(st.lists(st.integers(0, 20), min_size=1), st.lists(st.integers(0, 30), min_size=1))
def test_keys_that_share_their_first_half_are_told_apart(added, asked):
    """Digests do not in practice; here most do."""
    index = KeyIndex()
    for shard, number in enumerate(added):
        index.add(np.array([[number % 3, number]], np.uint64), shard)
    place = index.find(np.array([[number % 3, number] for number in asked], np.uint64))
    assert [at >= 0 for at in place] == [number in added for number in asked]
    assert all(added[KeyIndex.split(at)[0]] == number for at, number in zip(place, asked, strict=True) if at >= 0)
    index.drop(0)
    assert (index.find(np.array([[added[0] % 3, added[0]]], np.uint64))[0] >= 0) == (added[0] in added[1:])


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-5], lambda data: data[:-1] + bytes([data[-1] ^ 1]), lambda _data: b""]
)
def test_a_damaged_shard_is_set_aside_and_reported(tmp_path, capsys, damage):
    add(FeatureStore(tmp_path, CONTEXT), keys(3), rows(3))
    add(FeatureStore(tmp_path, CONTEXT), keys(2, 3), rows(2))
    shard = sorted(tmp_path.rglob("*.safetensors"))[0]
    shard.write_bytes(damage(shard.read_bytes()))
    store = FeatureStore(tmp_path, CONTEXT)
    assert sum(has(store, *range(5))) in {2, 3}
    assert "does not match its digest" in capsys.readouterr().out
    assert len(list(tmp_path.rglob("*.damaged"))) == 1


def test_two_writers_lose_nothing(tmp_path):
    first, second = FeatureStore(tmp_path, CONTEXT), FeatureStore(tmp_path, CONTEXT)
    add(first, keys(3), rows(3))
    add(second, keys(3, 2), rows(3))
    store = FeatureStore(tmp_path, CONTEXT)
    assert all(has(store, *range(5)))


def test_an_interrupted_write_is_ignored(tmp_path):
    add(FeatureStore(tmp_path, CONTEXT), keys(1), rows(1))
    folder = next(path for path in tmp_path.iterdir())
    (folder / ".half.safetensors.1.tmp").write_bytes(b"half")
    assert has(FeatureStore(tmp_path, CONTEXT), 0) == [True]


def test_the_least_recently_used_contexts_are_removed(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(feature_store, "RECENT", 0)
    contexts = [{**CONTEXT, "weights": str(n)} for n in range(4)]
    for number, context in enumerate(contexts):
        add(FeatureStore(tmp_path, context), keys(100), rows(100))
        for folder in tmp_path.iterdir():
            if folder.stat().st_mtime > 100:
                os.utime(folder, (number, number))
    FeatureStore(tmp_path, contexts[0])  # used again
    one = sum(file.stat().st_size for file in tmp_path.rglob("*.safetensors")) / 4 / 2**30
    FeatureStore(tmp_path, contexts[3]).collect(10 * one)
    assert "removed" not in capsys.readouterr().out
    FeatureStore(tmp_path, contexts[3]).collect(2.5 * one)
    assert [has(FeatureStore(tmp_path, context), 0)[0] for context in contexts] == [True, False, False, True]
    assert capsys.readouterr().out.count("removed") == 2
    FeatureStore(tmp_path, contexts[3]).collect(0.1 * one)
    assert [has(FeatureStore(tmp_path, context), 0)[0] for context in contexts] == [False, False, False, True]


def test_a_context_that_may_be_in_use_is_not_removed(tmp_path):
    store = FeatureStore(tmp_path, CONTEXT)
    add(store, keys(3), rows(3))
    other = FeatureStore(tmp_path, {**CONTEXT, "weights": "other"})
    other.collect(1e-9)
    assert has(FeatureStore(tmp_path, CONTEXT), 0) == [True]
    os.utime(store.folder, times=(time.time() - 2 * feature_store.RECENT,) * 2)
    other.collect(1e-9)
    assert has(FeatureStore(tmp_path, CONTEXT), 0) == [False]


def test_rows_that_were_mapped_survive_their_files_and_others_are_an_error(tmp_path):
    store = FeatureStore(tmp_path, CONTEXT)
    add(store, keys(3), rows(3))
    assert torch.equal(store[keys(3)], rows(3))
    add(store, keys(3, 3), rows(3))
    shutil.rmtree(tmp_path)
    assert torch.equal(store[keys(3)], rows(3))
    with raises(RootstockError, "features-removed"):
        store[keys(6)]
    add(store, keys(1, 7), rows(1))
    assert has(store, 7) == [True]
