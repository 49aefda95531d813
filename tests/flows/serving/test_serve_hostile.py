"""Hostile requests get an answer of the 400s each; nothing grows, nothing is written, nothing is smuggled in."""

from __future__ import annotations

import socket

from tests.flows.serving.hostile import bodies, smuggling
from tests.flows.serving.running import Server, version_of
from tests.registered.drawing import picture

BODIES, TRIES = 210, 60
GROWTH = 48 * 2**20  # bytes; a body of 1 MB of base64, and pixels up to the limit, come and go


def test_hostile_bodies_never_fail_the_server(serving, registry):
    server, _ = serving
    attack(server, BODIES // 3, seed=0)  # what is needed once, is there
    files, sizes, pids = written(registry[0]), memory(server), {child.pid for child in server.children()}
    attack(server, BODIES, seed=1)
    assert written(registry[0]) == files
    assert {child.pid for child in server.children()} == pids, "no process has died"
    for before, after in zip(sizes, memory(server), strict=True):
        assert after - before < GROWTH
    assert version_of(server.predict(picture(1))) == "1"


def test_no_request_is_smuggled_in(serving):
    server, _ = serving
    for request in smuggling(TRIES, seed=0):
        with socket.create_connection(server.address, timeout=10) as client:
            client.sendall(request)
            client.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: received(client), b""))
        statuses = [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]
        assert statuses in ([400], [501]), (request, answer)
        assert b"Traceback" not in answer


def received(client) -> bytes:
    try:
        return client.recv(65536)
    except ConnectionError:
        return b""


def attack(server: Server, count: int, seed: int) -> None:
    for path, content_type, body in bodies(count, seed):
        headers = {"content-type": content_type.encode("latin-1")}
        response = server.client.post(path, content=body, headers=headers)
        assert response.status_code in {200, 400, 413, 415, 422}, (path, content_type, body[:200], response.text)
        assert "Traceback" not in response.text
        assert "/tests/" not in response.text


def written(root) -> set[str]:
    """Returns the files below a checkout, without its logs."""
    return {str(file) for file in root.rglob("*") if file.is_file() and file.suffix not in {".log", ".out"}}


def memory(server: Server) -> list[int]:
    return [process.memory_full_info().uss for process in (*server.children("front"), server.worker())]
