"""What make serve refuses before it starts, in words."""

from __future__ import annotations

import socket

import pytest

from flows import serve
from flows.serve import check_access, listening
from flows.serving.fetching import UnusableError
from flows.serving.room import check_weights
from flows.serving.settings import TOKEN
from tasks.core.errors import RootstockError
from tests.errors import raises

EVERYWHERE = "0.0.0.0"  # noqa: S104


@pytest.fixture
def section(params):
    return lambda **changes: params(serve=changes).serve


def test_another_address_than_loopback_needs_a_long_token(section, monkeypatch):
    monkeypatch.delenv(TOKEN, raising=False)
    with raises(RootstockError, "serve.host"):
        check_access(section(host=EVERYWHERE))
    monkeypatch.setenv(TOKEN, "short")
    with raises(RootstockError, TOKEN):
        check_access(section())
    monkeypatch.setenv(TOKEN, "x" * 16)
    assert EVERYWHERE in check_access(section(host=EVERYWHERE))


def test_a_port_that_is_taken_is_named(section):
    with socket.create_server(("127.0.0.1", 0)) as other, raises(RootstockError, "serve.port"):
        listening(section(port=other.getsockname()[1]))


def test_an_option_that_makes_no_sense_is_named(params):
    with raises(RootstockError, "serve.workers"):
        serve.serve(params(), {"workers": 0})


def test_a_version_that_memory_cannot_hold_is_refused_in_words(tmp_path, monkeypatch):
    (tmp_path / "model.safetensors").write_bytes(b"x" * 1000)
    check_weights(2, tmp_path)
    monkeypatch.setattr("flows.serving.room.available_bytes", lambda: 5999)
    with pytest.raises(UnusableError, match="memory has no room") as error:
        check_weights(2, tmp_path)
    assert error.value.temporary
