"""ASGI middleware in front of our servers: it answers only requests to this machine that no other site has made.

A page of another site cannot read our answers, but it can send requests, also under a name of its own that resolves to
this machine (DNS rebinding). Host and Origin tell such requests apart; browsers do not let a page forge them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from http import HTTPStatus
from typing import Any

from tasks.core.errors import RootstockError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")
HOSTS = "ROOTSTOCK_HOSTS"
HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\]")
PORT = r"(:[0-9]{1,5})?"
POLICY_VIOLATION = 1008  # code of a closed websocket
POLICY = (b"cross-origin-resource-policy", b"same-origin")
TEXT = b"text/plain; charset=utf-8"

BAD_HOST = (
    "403: the request does not name this machine as its host; open the page at 127.0.0.1 or localhost, or, if it has"
    f" another name, set {HOSTS} to that name and restart the servers (make down, make up)."
)
BAD_ORIGIN = "403: the request comes from a page of another site; open the address that make up prints instead."
CLOSED = "403: this part of the server runs programs here for any caller, so it is kept closed; use the other parts."


def more_hosts() -> list[str]:
    """Returns the names in ROOTSTOCK_HOSTS. Raises RootstockError if one is no name of a host."""
    names = [name.strip().lower() for name in os.environ.get(HOSTS, "").split(",")]
    for name in filter(None, names):
        if not HOST_NAME.fullmatch(name):
            raise RootstockError(
                f"{HOSTS}: {name!r} is no name of a host; give names without port and pattern, separated by commas",
                key=HOSTS,
            )
    return [name for name in names if name]


class Guard:
    """Passes a request on if it names this machine as its host and comes from no other site; answers 403 otherwise.

    `closed` are the beginnings of paths that are never served.
    """

    def __init__(self, app: App, hosts: Iterable[str] = (), closed: tuple[str, ...] = ()) -> None:
        self._app, self._closed = app, closed
        self._host = re.compile(f"(?:{'|'.join(map(re.escape, (*LOOPBACK_HOSTS, *hosts)))}){PORT}")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request, websocket or lifespan."""
        complaint = None if scope["type"] == "lifespan" else self._complaint(scope)
        if complaint is None:
            await self._app(scope, receive, _for_own_pages(send))
        else:
            await refuse(scope, send, HTTPStatus.FORBIDDEN, complaint)

    def _complaint(self, scope: Scope) -> str | None:
        """Returns why a request is refused, or None."""
        hosts, origins = values(scope, b"host"), values(scope, b"origin")
        path = scope["path"]
        if len(hosts) != 1 or not self._host.fullmatch(hosts[0]) or not path.startswith("/"):
            return BAD_HOST  # a target that is a whole address, not a path, names another host than Host
        if origins and origins not in ([f"http://{hosts[0]}"], [f"https://{hosts[0]}"]):
            return BAD_ORIGIN
        if scope["type"] == "http" and not _is_from_here(scope):
            return BAD_ORIGIN
        return CLOSED if path.startswith(self._closed) else None


def _for_own_pages(send: Send) -> Send:
    """Returns a `send` that tells browsers to show answers to no other site's page, not even from their cache."""

    async def send_with_policy(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), POLICY]}
        await send(message)

    return send_with_policy


def _is_from_here(scope: Scope) -> bool:
    """Returns whether a request comes from our own page, from a program, or is a person who opens a page or a link.

    Browsers send no Origin with a GET for a picture or a script, but they tell where it comes from.
    """
    if set(values(scope, b"sec-fetch-site")) <= {"same-origin", "none"}:
        return True
    opened = (values(scope, b"sec-fetch-mode"), values(scope, b"sec-fetch-dest")) == (["navigate"], ["document"])
    return opened and scope["method"] in {"GET", "HEAD"}


def values(scope: Scope, name: bytes) -> list[str]:
    """Returns all values of a header, whose name is given in lower case."""
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


async def refuse(scope: Scope, send: Send, status: HTTPStatus, text: str, *headers: tuple[bytes, bytes]) -> None:
    """Answers a request with one sentence, or closes a websocket before it opens."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": POLICY_VIOLATION})
    else:
        await answer(send, status, f"{text}\n".encode(), (b"content-type", TEXT), *headers)


async def answer(send: Send, status: HTTPStatus, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    """Sends a whole response, which no cache keeps."""
    always = [(b"content-length", str(len(body)).encode()), (b"x-content-type-options", b"nosniff")]
    always += [(b"cache-control", b"no-store"), (b"referrer-policy", b"no-referrer")]
    await send({"type": "http.response.start", "status": int(status), "headers": [*always, *headers]})
    await send({"type": "http.response.body", "body": body})
