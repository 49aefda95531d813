"""ASGI requests to an application in this process, as a server would hand them over."""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

INNER = "the application"


class Answer(NamedTuple):
    """A response, or a closed websocket, whose status is its code."""

    status: int
    headers: dict[str, str]
    text: str


async def application(scope, receive, send) -> None:
    """Accepts everything; what is guarded by tests."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
    elif scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": INNER.encode()})


def ask(app, *headers: tuple[str, str], path="/", query="", method="GET", kind="http") -> Answer:
    """Returns the answer to one request."""
    sent = []

    async def send(message) -> None:
        sent.append(message)

    async def receive() -> dict[str, str]:
        return {"type": f"{kind}.connect"}

    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    scope = {"type": kind, "method": method, "path": path, "query_string": query.encode(), "headers": raw}
    with suppress(StopIteration):  # nothing here waits, so one step runs all of it
        app(scope, receive, send).send(None)
    first = sent[0]
    if kind == "websocket":
        return Answer(first.get("code", 101), {}, "")
    shown = {name.decode(): value.decode() for name, value in first["headers"]}
    return Answer(first["status"], shown, sent[1]["body"].decode())
