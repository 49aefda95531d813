"""Stores that cannot be opened: the error does not show the password in their URI."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import mlflow
import pytest

from flows.registry.store import client
from tasks.core.errors import RootstockError
from tests.errors import raises


@pytest.fixture(autouse=True)
def _left_as_it_was():
    before = mlflow.get_tracking_uri()
    yield
    mlflow.set_tracking_uri(before)


@pytest.mark.parametrize(
    ("uri", "fact"),
    [
        ("http://someone:secret@127.0.0.1:9", "127.0.0.1:9"),
        ("nonsense://someone:secret@127.0.0.1", "unsupported URI 'that'"),
        ("http://someone:secret@localhost:abc", "http://host:port"),
        ("https://[::1", "http://host:port"),
        ("http://someone:sec/secret@localhost", "http://host:port"),
        ("postgresql+none://someone:secret@127.0.0.1/it", "postgresql"),
    ],
)
def test_a_store_that_cannot_be_opened_is_a_user_error(uri, fact, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with raises(RootstockError, "MLFLOW_TRACKING_URI") as caught:
        client()
    assert fact in str(caught.value)
    assert "secret" not in str(caught.value)


class Answer(BaseHTTPRequestHandler):
    """A server that answers every request with one code."""

    def do_GET(self):
        self.send_error(self.server.code)

    def log_message(self, *_what):
        pass


@pytest.fixture
def answering(monkeypatch):
    """Starts a server as the store; returns a function that sets the code of its answers."""
    server = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
    yield lambda code: setattr(server, "code", code)
    server.shutdown()
    server.server_close()


def test_any_other_response_means_that_the_server_is_up(answering):
    answering(404)
    assert client() is not None


@pytest.mark.parametrize("code", [401, 403])
def test_a_refusal_names_the_variables_to_set(answering, code):
    answering(code)
    with raises(RootstockError, "MLFLOW_TRACKING_URI") as caught:
        client()
    for name in ("USERNAME", "PASSWORD", "TOKEN"):
        assert f"MLFLOW_TRACKING_{name}" in str(caught.value)
