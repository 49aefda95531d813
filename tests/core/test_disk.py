from __future__ import annotations

import shutil
from pathlib import Path

from tasks.core.disk import free_bytes, refuse_if_full, size
from tasks.core.errors import RootstockError
from tests.errors import raises


def test_places_on_one_disk_are_added_up(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
    one, other = tmp_path / "one", tmp_path / "not" / "yet" / "there"
    refuse_if_full({one: 60, other: 40}, "the work", "do less")
    with raises(RootstockError, "disk-full") as caught:
        refuse_if_full({one: 60, other: 41}, "the work", "do less")
    assert str(caught.value).startswith(f"the work needs 0.0 MiB in {one} and {other}")
    assert str(caught.value).endswith("do less")


def test_the_disk_of_a_folder_that_will_be_made_is_that_of_its_parent(tmp_path, monkeypatch):
    asked = []
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: asked.append(place) or usage)
    assert free_bytes(tmp_path / "a" / "b") == usage.free
    monkeypatch.chdir(tmp_path)
    free_bytes(Path("a/b"))
    assert asked == [tmp_path, tmp_path]


def test_sizes_are_readable():
    assert [size(number) for number in (251_580, 2**30, 5 * 2**40)] == ["0.2 MiB", "1.0 GiB", "5,120.0 GiB"]
