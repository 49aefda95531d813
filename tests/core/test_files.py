from __future__ import annotations

import hashlib

import pytest

from tasks.core.files import read_json, replacing, sha256_of, write_json


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    file = tmp_path / "deep" / "a.txt"
    file.parent.mkdir()
    file.write_text("old")

    def write_half() -> None:
        with replacing(file) as beside:
            beside.write_text("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert file.read_text() == "old"
    assert list(file.parent.iterdir()) == [file]


def test_files_have_the_usual_permissions(tmp_path):
    (tmp_path / "usual").touch()
    with replacing(tmp_path / "ours") as beside:
        beside.touch(0o600)
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_json_survives_a_round_trip_and_folders_are_made(tmp_path):
    value = {"é": [1, None, 0.5]}
    write_json(tmp_path / "new" / "a.json", value)
    assert read_json(tmp_path / "new" / "a.json") == value


def test_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    assert sha256_of(tmp_path / "a") == hashlib.sha256(b"x" * 100_000).hexdigest()
