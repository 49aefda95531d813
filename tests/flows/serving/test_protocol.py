"""Connections on which no request arrives in time are closed; others are not."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress

import pytest
import uvicorn

from flows.serving import protocol
from flows.serving.uvicorn_options import OPTIONS


async def app(scope, receive, send):
    """Answers without reading the body."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def address(monkeypatch):
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.4)
    monkeypatch.setattr(protocol, "REST_SECONDS", 0.4)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, **{**OPTIONS, "http": protocol.TimedProtocol}))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield listener.getsockname()
    server.should_exit = True
    thread.join()


def closed_within(client, seconds):
    client.settimeout(seconds)
    try:
        while client.recv(1000):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    return True


def test_a_head_that_never_ends_closes_the_connection_however_often_a_byte_comes(address):
    with socket.create_connection(address) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\n")
        began = time.monotonic()
        with suppress(OSError):
            while time.monotonic() - began < 10:
                client.sendall(b"x")
                time.sleep(0.05)
        assert time.monotonic() - began < 5


def test_a_silent_connection_is_closed(address):
    with socket.create_connection(address) as client:
        assert closed_within(client, 5)


def test_a_body_that_nobody_wants_is_read_for_a_moment_only(address):
    with socket.create_connection(address) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
        assert b"200" in client.recv(1000)
        assert closed_within(client, 5)


def test_a_connection_with_requests_stays_open(address):
    with socket.create_connection(address) as client:
        for _ in range(4):
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            while not client.recv(1000).endswith(b"ok"):
                pass
            time.sleep(0.2)
