"""The login of MLflow's pages with up.shared: links, cookies and HTTP Basic."""

from __future__ import annotations

import os
import stat
import time
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.local import auth, login
from flows.local.login import COOKIE_SECONDS, LINK_SECONDS, Login, new_link, redeem
from tests.flows.local.asgi import INNER, application, ask

STRING = "rootstock:0123456789abcdef"
BASIC = ("Authorization", auth.basic(STRING))


@pytest.fixture
def links(tmp_path):
    return tmp_path / "links"


@pytest.fixture
def app(links):
    return Login(application, STRING, links)


def query(link: str) -> str:
    return urlsplit(link).query


def token(link: str) -> str:
    return parse_qs(query(link))["login"][0]


def cookie_of(answer) -> str:
    return answer.headers["set-cookie"].partition(";")[0]


def test_a_link_sets_a_cookie_once_and_the_cookie_is_enough(app, links):
    link = new_link("http://127.0.0.1:5000", links)
    answer = ask(app, query=query(link))
    assert (answer.status, answer.headers["location"]) == (303, "/")
    attributes = answer.headers["set-cookie"].split("; ")[1:]
    assert set(attributes) == {"HttpOnly", "SameSite=Strict", "Path=/", f"Max-Age={COOKIE_SECONDS}"}
    assert ask(app, ("Cookie", f"other=1; {cookie_of(answer)}")).text == INNER
    assert ask(app, query=query(link)).status == 401
    assert ask(Login(application, STRING, links), ("Cookie", cookie_of(answer))).text == INNER, "after a restart"
    changed = Login(application, f"{STRING}0", links)
    assert ask(changed, ("Cookie", cookie_of(answer))).status == 401, "after a new auth string"


def test_links_are_files_that_say_nothing_and_that_only_their_owner_can_make(links):
    link = new_link("http://127.0.0.1:5000", links)
    (file,) = links.iterdir()
    assert stat.S_IMODE(links.stat().st_mode) == 0o700
    assert (file.stat().st_size, stat.S_IMODE(file.stat().st_mode)) == (0, 0o600)
    assert token(link) not in file.name
    assert not redeem(file.name, links)
    assert redeem(token(link), links)
    assert not redeem(token(link), links)


def test_a_link_expires_and_is_removed_with_the_next(links):
    old, clock = (new_link("http://127.0.0.1:5000", links) for _ in range(2))
    for file, age in zip(links.iterdir(), (LINK_SECONDS + 1, -LINK_SECONDS - 1), strict=True):
        os.utime(file, (time.time() - age,) * 2)
    assert not any(redeem(token(link), links) for link in (old, clock))
    expired = new_link("http://127.0.0.1:5000", links)
    os.utime(next(links.iterdir()), (0, 0))
    new = new_link("http://127.0.0.1:5000", links)
    assert len(list(links.iterdir())) == 1
    assert [redeem(token(link), links) for link in (expired, new)] == [False, True]


def test_only_opening_the_link_uses_it(app, links):
    link = new_link("http://127.0.0.1:5000", links)
    for method in ("HEAD", "POST", "OPTIONS"):
        assert ask(app, query=query(link), method=method).status == 401
    assert ask(app, query=query(link), kind="websocket").status == 1008
    assert ask(app, query=f"{query(link)}&{query(link)}").status == 401
    assert ask(app, query=query(link)).status == 303


def test_programs_send_basic(app):
    assert ask(app, BASIC).text == INNER
    assert ask(app, BASIC, kind="websocket").status == 101
    for value in (
        "Basic",
        auth.basic(f"{STRING}0"),
        auth.basic("rootstock:"),
        f"Bearer {STRING}",
        auth.basic(STRING)[:-1],
    ):
        assert ask(app, ("Authorization", value)).status == 401
    assert ask(app, BASIC, BASIC).status == 401


def test_a_browser_is_shown_where_the_link_stands_and_a_program_is_challenged(app):
    for header in (("Sec-Fetch-Mode", "cors"), ("Accept", "text/html,application/xhtml+xml")):
        answer = ask(app, header)
        assert (answer.status, "www-authenticate" in answer.headers) == (403, False)
        assert "make up" in answer.text
    answer = ask(app)
    assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Basic realm="rootstock"')
    assert "make env" in answer.text
    assert ask(app, kind="websocket").status == 1008


def test_only_the_health_check_needs_no_login(app):
    assert [ask(app, path=path).status for path in ("/health", "/health/", "/healthz", "//health")] == [
        200,
        401,
        401,
        401,
    ]


def test_a_cookie_expires_and_cannot_be_prolonged(app, links, monkeypatch):
    cookie = cookie_of(ask(app, query=query(new_link("http://127.0.0.1:5000", links))))
    name, _, value = cookie.partition("=")
    expiry, _, signature = value.partition(".")
    for forged in (
        f"{int(expiry) + 1}.{signature}",
        f"{expiry}.",
        f".{signature}",
        f"0{expiry}.{signature}",
        value[:-1],
        "",
    ):
        assert ask(app, ("Cookie", f"{name}={forged}")).status == 401
    monkeypatch.setattr(login.time, "time", lambda: int(expiry) + 1)
    assert ask(app, ("Cookie", cookie)).status == 401


@given(st.text(st.characters(max_codepoint=255), max_size=60), st.sampled_from(["Cookie", "Authorization"]))
def test_nothing_drawn_logs_in(value, header):
    app = Login(application, STRING)
    for text in (value, f"Basic {value}", f"rootstock-00000000={value}"):
        assert ask(app, (header, text)).status == 401
