"""Files with cached facts are not decoded again; the cache is used only if it is valid and from the same code."""

from __future__ import annotations

import hashlib
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.core.schema import Column
from tasks.data import facts_cache, file_facts, image_facts, image_files
from tasks.data.facts_cache import FactsCache, table_of
from tasks.scorer.decode import Decoding
from tests.drawn import drawn


@pytest.fixture
def folder(tmp_path):
    for number in range(3):
        drawn("disc", number).save(tmp_path / f"{number}.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    return tmp_path


def cached_facts(folder, monkeypatch) -> tuple[list[dict[str, object]], int]:
    """Returns the facts of all files, saved in the cache, and the number of files decoded for them."""
    decoded = []
    with monkeypatch.context() as patch:
        real = image_facts.decoded
        patch.setattr(image_facts, "decoded", lambda data, **how: decoded.append(data) or real(data, **how))
        cache = FactsCache(folder / "facts")
        rows = list(file_facts.facts_of_files(folder, image_files.find(folder).images, cache))
    cache.save(table_of(rows))
    return rows, len(decoded)


def test_only_new_contents_are_decoded_and_the_facts_are_the_same(folder, monkeypatch):
    first, decoded = cached_facts(folder, monkeypatch)
    assert decoded == 4
    assert cached_facts(folder, monkeypatch) == (first, 0)
    (folder / "0.png").rename(folder / "another.png")
    (folder / "1.png").write_bytes((folder / "2.png").read_bytes())
    drawn("bar", 9).save(folder / "new.png")
    rows, decoded = cached_facts(folder, monkeypatch)
    assert decoded == 1
    assert [row[Column.PATH] for row in rows] == ["1.png", "2.png", "another.png", "broken.png", "new.png"]
    assert rows[0][Column.PIXEL_HASH] == rows[1][Column.PIXEL_HASH]
    assert rows[3][Column.QUARANTINE]
    assert rows == list(file_facts.facts_of_files(folder, image_files.find(folder).images, {}))


def test_facts_of_other_settings_are_not_used(folder, monkeypatch):
    cached_facts(folder, monkeypatch)
    assert len(FactsCache(folder / "facts")) == 4
    assert len(FactsCache(folder / "facts", Decoding(background=(0, 0, 0)))) == 0
    monkeypatch.setattr(facts_cache, "heif_version", lambda: "1.0")
    assert len(FactsCache(folder / "facts")) == 0
    _, decoded = cached_facts(folder, monkeypatch)
    assert decoded == 4
    assert len(FactsCache(folder / "facts")) == 4


@pytest.mark.parametrize("spoil", ["half", "empty", "text", "facts"])
def test_what_is_damaged_is_not_used_and_made_again(folder, monkeypatch, spoil):
    first, _ = cached_facts(folder, monkeypatch)
    (file,) = (folder / "facts").iterdir()
    data = file.read_bytes()
    at = data.index(first[0][Column.PIXEL_HASH][:8].encode())
    other = data[:at] + b"f0" + data[at + 2 :]
    file.write_bytes({"half": data[: len(data) // 2], "empty": b"", "text": b"{}" * 99, "facts": other}[spoil])
    assert cached_facts(folder, monkeypatch) == (first, 4)
    assert cached_facts(folder, monkeypatch) == (first, 0)


def made_up(start: int, count: int) -> list[dict[str, object]]:
    return [
        {Column.PATH: f"{number}.png", Column.SHA256: hashlib.sha256(str(number).encode()).hexdigest()}
        | {Column.WIDTH: number, Column.MODE: "RGB"}
        for number in range(start, start + count)
    ]


def run(folder, rows) -> set[str]:
    """Saves the facts of a run. Returns the names of the parts that were written."""
    before = {file.name: file.stat().st_ino for file in folder.glob("*")}
    FactsCache(folder).save(table_of(rows))
    cache = FactsCache(folder)
    for row in rows:
        assert cache[row[Column.SHA256]] == {Column.WIDTH: row[Column.WIDTH], Column.MODE: "RGB"}
    return {file.name for file in folder.glob("*") if file.stat().st_ino != before.get(file.name)}


def test_a_run_writes_only_the_parts_to_which_it_adds(tmp_path, monkeypatch):
    monkeypatch.setattr(facts_cache, "PART_ROWS", 10)
    parts = {f"{digit:x}.parquet" for digit in range(16)}
    assert run(tmp_path, made_up(0, 200)) == parts
    assert run(tmp_path, made_up(0, 200)) == set()
    one = run(tmp_path, made_up(0, 201))
    assert one == {f"{made_up(200, 1)[0][Column.SHA256][0]}.parquet"}
    assert run(tmp_path, made_up(50, 151)) == set()
    assert len(FactsCache(tmp_path)) == 201  # not used by the last run, but perhaps by the next
    assert run(tmp_path, made_up(200, 2)) == {"all.parquet"}
    assert len(FactsCache(tmp_path)) == 2  # most were of no use
    assert {file.name for file in tmp_path.iterdir()} == {"all.parquet"}
    assert run(tmp_path, made_up(0, 300)) == parts
    assert run(tmp_path, []) == set()


@pytest.mark.parametrize("killed_again", [False, True])
def test_a_run_that_is_killed_keeps_what_it_has_read(tmp_path, monkeypatch, killed_again):
    monkeypatch.setattr(facts_cache, "PART_ROWS", 10)
    monkeypatch.setattr(facts_cache, "ROWS", 4)
    rows, folder, aside = made_up(0, 200), tmp_path / "facts", tmp_path / "aside"
    run(folder, rows[:100])
    reading = FactsCache(folder).stored(rows)
    assert [next(reading) for _row in rows[:111]] == rows[:111]
    cache = FactsCache(folder)
    assert [row[Column.SHA256] in cache for row in rows] == [True] * 108 + [False] * 92  # three times 4 new ones
    shutil.copytree(folder / facts_cache.COMING, aside)
    written = run(folder, rows[:108])
    assert written == {f"{row[Column.SHA256][0]}.parquet" for row in rows[100:108]}
    if killed_again:  # when its parts were written
        shutil.copytree(aside, folder / facts_cache.COMING)
        assert len(FactsCache(folder)) == 108
    assert run(folder, rows[:108]) == set()
    assert len(FactsCache(folder)) == 108
    assert not (folder / facts_cache.COMING).exists()


@pytest.mark.parametrize("removed", [False, True])
def test_a_damaged_batch_costs_no_other_one(tmp_path, monkeypatch, removed):
    monkeypatch.setattr(facts_cache, "ROWS", 4)
    rows = made_up(0, 24)
    list(FactsCache(tmp_path).stored(rows[:12]))
    damaged = tmp_path / facts_cache.COMING / "000001.parquet"
    damaged.write_bytes(b"damaged")
    if removed:
        damaged.unlink()
    list(FactsCache(tmp_path).stored(rows[12:20]))
    cache = FactsCache(tmp_path)
    assert [row[Column.SHA256] in cache for row in rows[:20]] == [True] * 4 + [False] * 4 + [True] * 12


def test_a_save_that_is_killed_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(facts_cache, "PART_ROWS", 10)
    monkeypatch.setattr(facts_cache, "ROWS", 4)
    rows = made_up(0, 200)
    run(tmp_path, rows[:20])
    list(FactsCache(tmp_path).stored(rows))
    real, written = FactsCache._write, []

    def write(cache, name, part):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(name)
        real(cache, name, part)

    with monkeypatch.context() as patch:
        patch.setattr(FactsCache, "_write", write)
        with pytest.raises(KeyboardInterrupt):
            FactsCache(tmp_path).save(table_of(rows))
    cache = FactsCache(tmp_path)
    assert len(cache) == 200
    assert all(row[Column.SHA256] in cache for row in rows)
    run(tmp_path, rows)
    assert len(FactsCache(tmp_path)) == 200
    assert {file.name for file in tmp_path.iterdir()} == {f"{digit:x}.parquet" for digit in range(16)}


def test_copies_of_a_file_are_stored_once(tmp_path, monkeypatch):
    monkeypatch.setattr(facts_cache, "ROWS", 2)
    rows = made_up(0, 6)
    list(FactsCache(tmp_path).stored([*rows[:2], *rows, rows[0], rows[5]]))
    assert len(FactsCache(tmp_path)) == 6
    run(tmp_path, rows)
    assert len(FactsCache(tmp_path)) == 6


@given(st.binary(min_size=1, max_size=3), st.floats(0, 1))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_damage_becomes_a_fact(tmp_path, other, where):
    shutil.rmtree(tmp_path / "facts", ignore_errors=True)
    rows = made_up(0, 50)
    run(tmp_path / "facts", rows)
    (file,) = (tmp_path / "facts").iterdir()
    data = bytearray(file.read_bytes())
    at = int(where * (len(data) - len(other)))
    data[at : at + len(other)] = other
    file.write_bytes(data)
    cache = FactsCache(tmp_path / "facts")
    assert {**cache}.items() <= {row[Column.SHA256]: {"width": row["width"], "mode": "RGB"} for row in rows}.items()


def test_many_files_are_decoded_by_processes_with_the_same_facts(folder, monkeypatch):
    """Those in the cache are not sent to them; each has a place among the others."""
    (folder / "gone.png").symlink_to(folder / "nowhere")
    files = [*image_files.find(folder).images, "gone.png"]
    expected = list(file_facts.facts_of_files(folder, files, {}))
    monkeypatch.setattr(file_facts, "MANY", 1)
    monkeypatch.setattr(file_facts, "SHARD", 2)
    assert list(file_facts.facts_of_files(folder, files, {})) == expected
    cached = {row[Column.SHA256]: {Column.WIDTH: 1} for row in expected[1:2]}
    assert list(file_facts.facts_of_files(folder, files, cached))[1][Column.WIDTH] == 1
