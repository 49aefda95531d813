"""The auth string's file, and the variables that carry it."""

from __future__ import annotations

import os
import re
import stat

import pytest

from flows.local import auth
from tasks.core.errors import RootstockError
from tests.errors import raises


def test_the_string_is_made_once_and_only_its_owner_can_read_it(tmp_path, monkeypatch):
    file, modes = tmp_path / "auth-string", []
    opened = os.open

    def watched(path, flags, mode=0o777, **more):
        descriptor = opened(path, flags, mode, **more)
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return descriptor

    monkeypatch.setattr(os, "open", watched)
    before = os.umask(0)
    try:
        string = auth.ensure(file)
    finally:
        os.umask(before)
    assert set(modes) == {0o600}, "from the first instant on"
    assert re.fullmatch(r"rootstock:[\w-]{43}", string)
    assert auth.ensure(file) == auth.read(file) == string
    assert [path.name for path in tmp_path.iterdir()] == ["auth-string"]
    assert auth.new_string() != string


def test_an_attempt_that_was_killed_leaves_nothing_that_is_trusted(tmp_path):
    (tmp_path / f".auth-string.{os.getpid()}.tmp").write_text("")
    assert auth.ensure(tmp_path / "auth-string").startswith("rootstock:")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o602, 0o700, 0o666, 0o4600])
def test_a_file_that_others_may_read_or_change_is_refused_in_words(tmp_path, mode):
    file = tmp_path / "auth-string"
    auth.ensure(file)
    file.chmod(mode)
    with raises(RootstockError, "auth") as caught:
        auth.ensure(file)
    assert f"mode {mode:o}" in str(caught.value)
    assert file.read_text().strip() not in str(caught.value)


def test_another_owners_file_is_refused_in_words(tmp_path, monkeypatch):
    auth.ensure(tmp_path / "auth-string")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with raises(RootstockError, "auth") as caught:
        auth.read(tmp_path / "auth-string")
    assert "another user" in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "\n", "rootstock", "rootstock:", "rootstock:short", "a b:0123456789abcdef", "\xff" * 99]
)
def test_a_file_with_something_else_is_refused_in_words(tmp_path, text):
    file = tmp_path / "auth-string"
    file.write_bytes(text.encode("latin-1"))
    file.chmod(0o600)
    with raises(RootstockError, "auth"):
        auth.read(file)


def test_a_link_a_folder_and_a_missing_file_are_refused_in_words(tmp_path):
    auth.ensure(tmp_path / "there")
    (tmp_path / "link").symlink_to(tmp_path / "there")
    (tmp_path / "folder").mkdir(mode=0o700)
    for name in ("link", "folder", "missing"):
        with raises(RootstockError, "auth") as caught:
            auth.read(tmp_path / name)
        assert "make up" in str(caught.value)


def test_clients_get_the_string_in_the_form_that_each_reads():
    assert auth.basic("rootstock:secret") == "Basic cm9vdHN0b2NrOnNlY3JldA=="
    assert auth.prefect_variables("http://127.0.0.1:1/api", "rootstock:secret") == {
        "PREFECT_API_URL": "http://127.0.0.1:1/api",
        "PREFECT_API_AUTH_STRING": "rootstock:secret",
    }
    assert auth.mlflow_variables("rootstock:a:b") == {
        "MLFLOW_TRACKING_USERNAME": "rootstock",
        "MLFLOW_TRACKING_PASSWORD": "a:b",
    }
