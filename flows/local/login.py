"""The login of MLflow's pages with `up.shared`: a link that works once and sets a cookie, or HTTP Basic for programs.

A link's token is a file that is named by the token's hash, and the server deletes it at its first use: so a token works
once, even if the server is killed or restarted. The cookie is signed with the auth string and needs no memory.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qs, urlencode

from flows.local import auth, secret_file
from flows.local.environment import REGISTRY
from flows.local.guard import App, Receive, Scope, Send, answer, refuse, values

LINKS = REGISTRY / "links"
PARAMETER = "login"
LINK_SECONDS = 3600.0
COOKIE_SECONDS = 30 * 24 * 3600
OPEN = {"/health"}  # served without login, as Prefect does
SENTENCE = (
    "MLflow shows its pages to whoever has opened the link that make up prints in the checkout on this machine: run"
    " make up again for a new link, which works once. Programs send HTTP Basic, with the variables that make env gives."
)
PAGE = f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Rootstock</title>
<body style="font: 16px/1.5 sans-serif; max-width: 40em; margin: 4em auto">
<h1>Log in</h1><p>{SENTENCE}</p></body></html>
""".encode()
HTML = (b"content-type", b"text/html; charset=utf-8")
CHALLENGE = (b"www-authenticate", b'Basic realm="rootstock"')


def new_link(address: str, folder: Path = LINKS) -> str:
    """Returns the address with a new token; tokens that have expired are removed."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    for file in folder.iterdir():
        if _is_expired(file):
            file.unlink(missing_ok=True)
    token = secrets.token_urlsafe(32)
    _file_of(token, folder).touch(mode=secret_file.PRIVATE)
    return f"{address}/?{urlencode({PARAMETER: token})}"


def redeem(token: str, folder: Path = LINKS) -> bool:
    """Returns whether a token is valid, which it is once: only one process can delete its file."""
    file = _file_of(token, folder)
    try:
        expired = _is_expired(file)
        file.unlink()
    except FileNotFoundError:
        return False
    return not expired


def _file_of(token: str, folder: Path) -> Path:
    return folder / hashlib.sha256(token.encode()).hexdigest()


def _is_expired(file: Path) -> bool:
    return abs(time.time() - file.stat().st_mtime) > LINK_SECONDS


class Login:
    """Passes on what has a cookie or the auth string; exchanges a link for a cookie; shows others where it stands."""

    def __init__(self, app: App, string: str, links: Path = LINKS) -> None:
        self._app, self._string, self._links = app, string, links
        self._cookie = f"rootstock-{hashlib.sha256(string.encode()).hexdigest()[:8]}"  # cookies are shared by ports

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request, websocket or lifespan."""
        if scope["type"] == "lifespan" or scope["path"] in OPEN or self._is_logged_in(scope):
            await self._app(scope, receive, send)
        elif self._redeems(scope):
            await answer(send, HTTPStatus.SEE_OTHER, b"", (b"location", b"/"), (b"set-cookie", self._new_cookie()))
        elif scope["type"] == "http" and _is_browser(scope):
            await answer(send, HTTPStatus.FORBIDDEN, PAGE, HTML)
        else:
            await refuse(scope, send, HTTPStatus.UNAUTHORIZED, f"401: {SENTENCE}", CHALLENGE)

    def _new_cookie(self) -> bytes:
        value = f"{self._cookie}={self._signed(int(time.time()) + COOKIE_SECONDS)}; Max-Age={COOKIE_SECONDS}"
        return f"{value}; Path=/; HttpOnly; SameSite=Strict".encode()

    def _redeems(self, scope: Scope) -> bool:
        if scope["type"] != "http" or scope["method"] != "GET":
            return False
        tokens = parse_qs(scope["query_string"].decode("latin-1")).get(PARAMETER, [])
        return len(tokens) == 1 and redeem(tokens[0], self._links)

    def _is_logged_in(self, scope: Scope) -> bool:
        if values(scope, b"authorization"):
            return _is_equal(values(scope, b"authorization"), auth.basic(self._string))
        pairs = "; ".join(values(scope, b"cookie")).split("; ")
        cookies = [value for name, _, value in (pair.partition("=") for pair in pairs) if name == self._cookie]
        return any(self._is_signed(cookie) for cookie in cookies)

    def _is_signed(self, cookie: str) -> bool:
        with suppress(ValueError):
            expiry = int(cookie.partition(".")[0])
            return expiry > time.time() and _is_equal([cookie], self._signed(expiry))
        return False

    def _signed(self, expiry: int) -> str:
        """Returns the cookie that is valid until this time, in seconds since the epoch."""
        return f"{expiry}.{hmac.new(self._string.encode(), f'cookie {expiry}'.encode(), 'sha256').hexdigest()}"


def _is_equal(got: list[str], expected: str) -> bool:
    """Compares in a time that does not depend on where they differ."""
    return len(got) == 1 and hmac.compare_digest(got[0].encode(), expected.encode())


def _is_browser(scope: Scope) -> bool:
    """Returns whether to show a page: a browser would answer a challenge with a dialog that explains nothing."""
    return bool(values(scope, b"sec-fetch-mode")) or any("text/html" in value for value in values(scope, b"accept"))
