from __future__ import annotations

import os

import numpy as np
import pytest

from tasks.embedding.feature_store import FeatureStore, key_of

CONTEXT = {"weights": "abc", "dtype": "float32"}


def keys(count, start=0):
    return [key_of(f"pixels{n}", (0.0, 1.0)) for n in range(start, start + count)]


def rows(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 4)).astype(np.float32)


def test_rows_are_returned_in_the_requested_order(tmp_path):
    store, matrix = FeatureStore(tmp_path, CONTEXT), rows(5)
    store.add(keys(5), matrix)
    for opened in (store, FeatureStore(tmp_path, CONTEXT)):
        assert np.array_equal(opened[keys(5)[::-1]], matrix[::-1])
        assert keys(1, 9)[0] not in opened


def test_contexts_do_not_share_rows(tmp_path):
    FeatureStore(tmp_path, CONTEXT).add(keys(2), rows(2))
    assert keys(1)[0] not in FeatureStore(tmp_path, {**CONTEXT, "weights": "other"})


def test_the_key_depends_on_image_and_view():
    assert len({key_of("a", (0.0,)), key_of("a", (0.5,)), key_of("b", (0.0,))}) == 3


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-5], lambda data: data[:-1] + bytes([data[-1] ^ 1]), lambda _data: b""]
)
def test_a_damaged_shard_is_set_aside_and_reported(tmp_path, capsys, damage):
    FeatureStore(tmp_path, CONTEXT).add(keys(3), rows(3))
    FeatureStore(tmp_path, CONTEXT).add(keys(2, 3), rows(2))
    shard = sorted(tmp_path.rglob("*.safetensors"))[0]
    shard.write_bytes(damage(shard.read_bytes()))
    store = FeatureStore(tmp_path, CONTEXT)
    assert sum(key in store for key in keys(5)) in {2, 3}
    assert "does not match its digest" in capsys.readouterr().out
    assert len(list(tmp_path.rglob("*.damaged"))) == 1


def test_two_writers_lose_nothing(tmp_path):
    first, second = FeatureStore(tmp_path, CONTEXT), FeatureStore(tmp_path, CONTEXT)
    first.add(keys(3), rows(3))
    second.add(keys(3, 2), rows(3))
    store = FeatureStore(tmp_path, CONTEXT)
    assert all(key in store for key in keys(5))


def test_an_interrupted_write_is_ignored(tmp_path):
    FeatureStore(tmp_path, CONTEXT).add(keys(1), rows(1))
    folder = next(path for path in tmp_path.iterdir())
    (folder / ".half.safetensors.1.tmp").write_bytes(b"half")
    assert keys(1)[0] in FeatureStore(tmp_path, CONTEXT)


def test_the_least_recently_used_contexts_are_removed(tmp_path, capsys):
    contexts = [{**CONTEXT, "weights": str(n)} for n in range(4)]
    for number, context in enumerate(contexts):
        FeatureStore(tmp_path, context).add(keys(100), rows(100))
        for folder in tmp_path.iterdir():
            if folder.stat().st_mtime > 100:
                os.utime(folder, (number, number))
    FeatureStore(tmp_path, contexts[0])  # used again
    one = sum(file.stat().st_size for file in tmp_path.rglob("*.safetensors")) / 4 / 2**30
    FeatureStore(tmp_path, contexts[3]).collect(10 * one)
    assert "removed" not in capsys.readouterr().out
    FeatureStore(tmp_path, contexts[3]).collect(2.5 * one)
    assert [keys(1)[0] in FeatureStore(tmp_path, context) for context in contexts] == [True, False, False, True]
    assert capsys.readouterr().out.count("removed") == 2
    FeatureStore(tmp_path, contexts[3]).collect(0.1 * one)
    assert [keys(1)[0] in FeatureStore(tmp_path, context) for context in contexts] == [False, False, False, True]


def test_a_store_that_is_removed_under_its_reader_is_computed_again(tmp_path):
    reader = FeatureStore(tmp_path, CONTEXT)
    reader.add(keys(3), rows(3))
    other = FeatureStore(tmp_path, {**CONTEXT, "weights": "other"})
    other.add(keys(1), rows(1))
    other.collect(1e-9)
    assert keys(1)[0] not in FeatureStore(tmp_path, CONTEXT)
    assert np.array_equal(reader[keys(3)], rows(3))  # rows that were read are kept
    reader.add(keys(1, 7), rows(1))
    assert keys(1, 7)[0] in FeatureStore(tmp_path, CONTEXT)
