"""Clients of a server, in a process of their own: python -m tests.benchmarks.load HOST PORT SECONDS CLIENTS RATE BODY.

BODY is a file with whole requests' bytes, sent as they are. With RATE requests a second, latency counts from when each
should have been sent, so that a slow server is not asked less; with 0, each client asks without a pause. Prints a JSON
list of [sent, latency, status, version].
"""

from __future__ import annotations

import json
import random
import re
import signal
import socket
import sys
import threading
import time
from pathlib import Path

LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
STOPPED = threading.Event()  # by SIGTERM
VERSION = re.compile(rb"\r\nx-rootstock-version: (\w+)\r\n", re.IGNORECASE)


def exchange(connection: socket.socket, request: bytes) -> tuple[int, str | None]:
    """Sends a request. Returns status and version of the answer."""
    connection.sendall(request)
    data = b""
    while b"\r\n\r\n" not in data:
        data += received(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    head += b"\r\n"
    left = int(LENGTH.search(head)[1]) - len(body)
    while left > 0:
        left -= len(received(connection))
    version = VERSION.search(head)
    return int(head[9:12]), version[1].decode() if version else None


def received(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise ConnectionError("closed")
    return data


def client(address, request: bytes, end: float, pause: float, answers: list) -> None:
    """Asks until `end`; at random moments, every `pause` seconds on average, if that is not 0."""
    connection, due = socket.create_connection(address), time.time()
    while due < end and not STOPPED.is_set():
        if pause:
            due += random.expovariate(1 / pause)
            time.sleep(max(due - time.time(), 0))
        else:
            due = time.time()
        try:
            status, version = exchange(connection, request)
        except OSError as error:
            status, version = 0, type(error).__name__
            connection.close()
            connection = connected(address)
        answers.append([due, time.time() - due, status, version])
    connection.close()


def connected(address) -> socket.socket:
    while True:
        try:
            return socket.create_connection(address)
        except OSError:
            time.sleep(0.05)


def main(host: str, port: str, seconds: str, clients: str, rate: str, body: str) -> None:
    signal.signal(signal.SIGTERM, lambda *_: STOPPED.set())
    request, answers, end = Path(body).read_bytes(), [], time.time() + float(seconds)
    pause = int(clients) / float(rate) if float(rate) else 0.0
    work = ((host, int(port)), request, end, pause, answers)
    threads = [threading.Thread(target=client, args=work) for _ in range(int(clients))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])
