"""Stores that cannot be opened are told in words, and without the password in their address."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import mlflow
import pytest

from flows.registry.store import client
from tasks.core.errors import RootstockError


@pytest.fixture(autouse=True)
def _left_as_it_was():
    before = mlflow.get_tracking_uri()
    yield
    mlflow.set_tracking_uri(before)


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("http://someone:secret@127.0.0.1:9", "no answer from 127.0.0.1:9; mend it, or unset the variable"),
        ("nonsense://someone:secret@127.0.0.1", "cannot be opened: .*unsupported URI 'that'"),
        ("http://someone:secret@localhost:abc", "is no address"),
        ("https://[::1", "is no address"),
        ("http://someone:sec/secret@localhost", "is no address"),
        ("postgresql+none://someone:secret@127.0.0.1/it", "cannot be opened: "),
    ],
)
def test_a_store_that_cannot_be_opened_is_told(uri, told, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(RootstockError, match=f"^MLFLOW_TRACKING_URI:? {told}") as found:
        client()
    assert "secret" not in str(found.value)


class Sparing(BaseHTTPRequestHandler):
    """A server of MLflow's kind that has no page for its health."""

    def do_GET(self):
        self.send_error(404)

    def log_message(self, *_what):
        pass


def test_a_server_that_answers_anything_is_one(monkeypatch):
    server = HTTPServer(("127.0.0.1", 0), Sparing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
    assert client() is not None
    server.shutdown()
    server.server_close()
