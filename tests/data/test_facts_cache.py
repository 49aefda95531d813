"""Files with cached facts are not decoded again; the cache is used only if it is valid and from the same code."""

from __future__ import annotations

import pytest

from tasks.core.files import read_json, write_json
from tasks.core.schema import Column
from tasks.data import facts_cache, image_files
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
        real = image_files.decoded
        patch.setattr(image_files, "decoded", lambda data, **how: decoded.append(data) or real(data, **how))
        files = image_files.find(folder).images
        rows = list(image_files.facts(folder, files, facts_cache.load(folder / "facts.json")))
    facts_cache.save(folder / "facts.json", rows)
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
    assert rows == list(image_files.facts(folder, image_files.find(folder).images, {}))


def test_facts_of_other_settings_are_not_used(folder, monkeypatch):
    cached_facts(folder, monkeypatch)
    file = folder / "facts.json"
    assert len(facts_cache.load(file)) == 4
    assert facts_cache.load(file, Decoding(background=(0, 0, 0))) == {}
    monkeypatch.setattr(facts_cache, "heif_version", lambda: "1.0")
    assert facts_cache.load(file) == {}


@pytest.mark.parametrize("spoil", ["half", "other", "code", "list", "none"])
def test_what_is_damaged_or_of_other_code_is_not_used(folder, monkeypatch, spoil):
    first, _ = cached_facts(folder, monkeypatch)
    file = folder / "facts.json"
    kept = read_json(file)
    if spoil == "half":
        file.write_bytes(file.read_bytes()[:200])
    elif spoil == "other":
        next(iter(kept["facts"].values()))["width"] = 1
        write_json(file, kept)
    elif spoil == "code":
        write_json(file, {**kept, "code": []})
    else:
        write_json(file, [] if spoil == "list" else None)
    assert cached_facts(folder, monkeypatch) == (first, 4)
