"""The watcher's decision when to release, and what it asks of MLflow."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.error import HTTPError

import pytest

from flows.local.environment import LOCAL_DATABASE
from flows.registry.watcher import ANYWAY_SECONDS, Pace, RegistryState, address_of, registry_state

QUIET = RegistryState("1", "1", 10)


def settled(before: RegistryState = QUIET, after: RegistryState = QUIET) -> Pace:
    pace = Pace()
    pace.released(before, after, 0)
    return pace


def test_it_releases_at_the_start_and_after_a_while_even_if_nobody_tells_the_state():
    assert Pace().is_due(None, 0)
    assert not settled().is_due(None, ANYWAY_SECONDS - 1)
    assert settled().is_due(None, ANYWAY_SECONDS)


@pytest.mark.parametrize(
    "state", [RegistryState("2", "1", 10), RegistryState("1", "1", 11), RegistryState("1", "2", 10)]
)
def test_a_request_a_copy_and_a_moved_alias_are_seen_at_once(state):
    assert not settled().is_due(QUIET, 1)
    assert settled().is_due(state, 1)


def test_a_request_made_again_after_its_refusal_is_seen():
    asked = RegistryState("2", "1", 10)
    assert settled(asked, QUIET).is_due(asked, 1)
    assert not settled(asked, QUIET).is_due(QUIET, 1)


def test_a_request_made_while_a_release_runs_is_seen():
    asked, during = RegistryState("2", "1", 10), RegistryState("3", "2", 12)
    assert settled(asked, during).is_due(during, 1)


def test_a_request_that_nobody_here_may_answer_is_not_tried_every_few_seconds():
    asked = RegistryState("2", "1", 10)
    assert not settled(asked, asked).is_due(asked, ANYWAY_SECONDS - 1)


def test_only_a_server_can_be_asked():
    assert address_of(LOCAL_DATABASE, "http://127.0.0.1:5000") == "http://127.0.0.1:5000"
    assert address_of("https://mlflow.example/", "http://127.0.0.1:5000") == "https://mlflow.example"
    assert address_of("postgresql://db/mlflow", "http://127.0.0.1:5000") is None


@pytest.fixture
def asked():
    """Yields the address of a server that shows one model, and the headers of the requests it gets."""
    headers: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers.append(self.headers["Authorization"])
            aliases = [{"alias": "champion", "version": "2"}, {"alias": "live", "version": 1}]
            body = json.dumps({"registered_model": {"aliases": aliases}}).encode()
            if is_missing := "-production" in self.path:
                body = b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "..."}'
            if is_a_proxys := "name=proxied" in self.path:
                body = b'{"detail": "no such route"}'
            self.send_response(404 if is_missing or is_a_proxys else 200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Keeps the test's output short."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}", headers
    server.shutdown()
    server.server_close()


def test_it_reads_aliases_and_sends_the_credentials_of_mlflow(asked, monkeypatch):
    place, headers = asked
    monkeypatch.delenv("MLFLOW_TRACKING_TOKEN", raising=False)
    assert registry_state(f"http://{place}", "rootstock") == RegistryState("2", "1", None)
    registry_state(f"http://me:secret@{place}", "rootstock")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "a-token")
    registry_state(f"http://{place}", "rootstock")
    assert headers[::2] == [None, "Basic bWU6c2VjcmV0", "Bearer a-token"]


def test_a_404_that_is_not_mlflows_does_not_mean_that_there_is_no_model(asked):
    with pytest.raises(HTTPError, match="404"):
        registry_state(f"http://{asked[0]}", "proxied")
