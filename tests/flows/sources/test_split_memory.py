from __future__ import annotations

import pandas as pd
import pytest

from flows.sources.split_memory import is_contradicted, remember, renew
from tasks.core.files import write_json
from tasks.core.schema import Column
from tasks.data.split_memory import read_memory


@pytest.fixture
def memory(tmp_path):
    return tmp_path / "registry" / "splits.csv"


def ingest(paths, splits, *, ours=True, **quarantine):
    """Writes the manifest of images with these splits, by pixel hash."""
    paths.ingest.mkdir(parents=True, exist_ok=True)
    rows = {Column.PIXEL_HASH: list(splits), Column.SPLIT: list(splits.values())}
    rows[Column.QUARANTINE] = [quarantine.get(name) for name in splits]
    pd.DataFrame(rows).to_parquet(paths.manifest)
    write_json(paths.split_record, {"ours": ours, "near_duplicates": [], "unsearched": 0})


def test_a_version_adds_its_labeled_images_and_changes_none(paths, memory):
    ingest(paths, {"a": "train", "b": "test", "c": "unlabelled", "d": "train"}, d="its class has no training images")
    assert remember(paths, memory) == 2
    ingest(paths, {"a": "test", "e": "validation"})
    assert remember(paths, memory) == 1
    assert read_memory(memory) == {"a": "train", "b": "test", "e": "validation"}
    before = memory.stat().st_mtime_ns
    assert remember(paths, memory) == 0
    assert memory.stat().st_mtime_ns == before


def test_splits_of_the_source_are_not_remembered(paths, memory):
    ingest(paths, {"a": "train", "b": "test"}, ours=False)
    assert remember(paths, memory) == 0
    assert not memory.exists()


def test_the_copy_is_renewed_only_if_the_manifest_contradicts_the_memory(paths, memory):
    assert is_contradicted(paths, memory)
    assert renew(paths, memory)
    ingest(paths, {"a": "train", "b": "test"})
    assert remember(paths, memory) == 2
    assert not is_contradicted(paths, memory), "a version's own images are no news"
    assert read_memory(paths.splits) == {}
    ingest(paths, {"a": "train", "b": "train"})
    assert is_contradicted(paths, memory)
    assert renew(paths, memory)
    assert not renew(paths, memory)
    assert read_memory(paths.splits) == read_memory(memory)
