"""The guard: which Host, Origin and Fetch Metadata are passed on, tried with forged ones and drawn ones."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.local.guard import Guard, more_hosts
from tasks.core.errors import RootstockError
from tests.errors import raises
from tests.flows.local.asgi import INNER, application, ask

GUARD = Guard(application, closed=("/closed",))
HERE = "127.0.0.1:5000"
NAMES = """
evil.example 127.0.0.1.evil.example localhost.evil.example evil.example:5000 evil-localhost 127x0.0.1 localhost。
localhost. 127.0.0.1. localhost.:5000 LOCALHOST Localhost:5000 localhost: localhost:port 127.0.0.1:-1 ⓛocalhost
user@127.0.0.1 127.0.0.1@evil.example 127.0.0.1:5000@evil.example 127.0.0.1:123456 127.0.0.1:5000:80 127.0.0.1:５０００
127.0.0.2 127.1 2130706433 0x7f000001 0177.0.0.1 0.0.0.0 169.254.169.254 127.0.0.1/ 127.0.0.1# 127.0.0.1? *
::1 [::] [::ffff:127.0.0.1] [0:0:0:0:0:0:0:1] [::1 [::1]evil [::1%25lo] [::1].evil.example
"""
FORGED_HOSTS = (
    *(name.encode().decode("latin-1") for name in NAMES.split()),  # as a server decodes the bytes
    *("", " 127.0.0.1", "127.0.0.1 ", "127.0.0.1\t", "127.0.0.1\n", "127.0.0.1, localhost", "127.0.0.1 evil.example"),
)
ORIGINS = """
null http://evil.example http://localhost:5000 http://[::1]:5000 http://127.0.0.1:5001 http://127.0.0.1 file:// *
http://127.0.0.1:5000.evil.example http://127.0.0.1:5000@evil.example http://127.0.0.1:5000/ 127.0.0.1:5000
//127.0.0.1:5000 ftp://127.0.0.1:5000 file://127.0.0.1:5000 chrome-extension://127.0.0.1:5000 HTTP://127.0.0.1:5000
http://user@127.0.0.1:5000
"""
FORGED_ORIGINS = (
    *ORIGINS.split(),
    *("", f"http://{HERE} http://{HERE}", f"http://{HERE}, http://evil.example", f" http://{HERE}", f"http://{HERE} "),
)
KINDS = ("http", "websocket")
REFUSED = {"http": 403, "websocket": 1008}
PASSED = {"http": 200, "websocket": 101}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("port", ["", ":80", ":5000", ":65535"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_this_machine_is_served_at_any_port_with_and_without_the_pages_own_origin(host, port, kind):
    for origins in ([], [("Origin", f"http://{host}{port}")], [("Origin", f"https://{host}{port}")]):
        assert ask(GUARD, ("Host", host + port), *origins, kind=kind).status == PASSED[kind]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("host", FORGED_HOSTS)
def test_another_host_is_refused(host, kind):
    answer = ask(GUARD, ("Host", host), kind=kind)
    assert answer.status == REFUSED[kind]
    assert INNER not in answer.text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("origin", FORGED_ORIGINS)
def test_another_origin_is_refused(origin, kind):
    assert ask(GUARD, ("Host", HERE), ("Origin", origin), kind=kind).status == REFUSED[kind]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("X-Forwarded-Host", HERE)],
        [("Host", HERE), ("Host", HERE)],
        [("Host", HERE), ("Host", "evil.example")],
        [("Host", "evil.example"), ("Host", HERE)],
        [("Host", HERE), ("Origin", f"http://{HERE}"), ("Origin", "http://evil.example")],
        [("Host", HERE), ("Origin", f"http://{HERE}"), ("Origin", f"http://{HERE}")],
    ],
    ids=["none", "forwarded", "twice", "second", "first", "second-origin", "same-origin-twice"],
)
def test_a_header_that_is_absent_or_repeated_is_refused(headers, kind):
    assert ask(GUARD, *headers, kind=kind).status == REFUSED[kind]


def test_a_target_with_a_host_of_its_own_is_refused():
    assert ask(GUARD, ("Host", HERE), path="http://evil.example/").status == 403


@pytest.mark.parametrize("site", ["same-site", "cross-site", "anything", ""])
@pytest.mark.parametrize("mode", ["no-cors", "cors", "websocket", "navigate"])
def test_what_another_sites_page_loads_is_refused(site, mode):
    headers = [("Host", HERE), ("Sec-Fetch-Site", site), ("Sec-Fetch-Mode", mode)]
    for kind in ("image", "script", "style", "iframe", "frame", "object", "empty", "font"):
        assert ask(GUARD, *headers, ("Sec-Fetch-Dest", kind)).status == 403


@pytest.mark.parametrize("site", ["same-site", "cross-site"])
def test_a_link_on_another_page_opens_ours_but_sends_no_form(site):
    headers = [("Host", HERE), ("Sec-Fetch-Site", site), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")]
    assert [ask(GUARD, *headers, method=method).status for method in ("GET", "HEAD", "POST")] == [200, 200, 403]


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_our_own_page_and_a_typed_address_are_served(site):
    assert ask(GUARD, ("Host", HERE), ("Sec-Fetch-Site", site), ("Sec-Fetch-Mode", "cors"), method="POST").status == 200


def test_a_closed_path_is_served_to_nobody():
    assert [ask(GUARD, ("Host", HERE), path=path).status for path in ("/closed/x", "/open/closed")] == [403, 200]


def test_the_answer_is_one_sentence_that_no_browser_runs_or_keeps():
    answer = ask(GUARD, ("Host", "<script>alert(1)</script>"))
    assert "script" not in answer.text
    assert answer.text.startswith("403: ")
    assert "make up" in answer.text
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"


def test_browsers_show_what_is_served_to_no_other_page_not_even_from_their_cache():
    assert ask(GUARD, ("Host", HERE)).headers["cross-origin-resource-policy"] == "same-origin"


def test_the_lifespan_is_passed_on():
    with pytest.raises(IndexError):  # the application says nothing, and nor does the guard
        ask(GUARD, kind="lifespan")


def test_named_hosts_are_served_and_their_neighbors_are_not(monkeypatch):
    monkeypatch.setenv("ROOTSTOCK_HOSTS", " GPU7.example , 10.0.0.5,[fe80::1],")
    assert more_hosts() == ["gpu7.example", "10.0.0.5", "[fe80::1]"]
    guard = Guard(application, more_hosts())
    for host in ("gpu7.example", "gpu7.example:443", "10.0.0.5:5000", "[fe80::1]:5000", HERE):
        assert ask(guard, ("Host", host), ("Origin", f"https://{host}")).status == 200
    for host in ("gpu7xexample", "gpu7.example.evil.example", "evil.gpu7.example", "10.0.0.50", "GPU7.example"):
        assert ask(guard, ("Host", host)).status == 403


@pytest.mark.parametrize(
    "name", ["*", "*.example", "gpu7:5000", "http://gpu7", "gpu7/", "a b", "gpu7|evil", "(.*)", "-a"]
)
def test_a_pattern_or_an_address_is_no_name_of_a_host(name, monkeypatch):
    monkeypatch.setenv("ROOTSTOCK_HOSTS", f"gpu7,{name}")
    with raises(RootstockError, "ROOTSTOCK_HOSTS"):
        more_hosts()


PIECES = st.sampled_from(
    [
        *"127.0.0.1",
        "127.0.0.1",
        "localhost",
        "[::1]",
        "evil.example",
        ":",
        "5000",
        "@",
        ".",
        "/",
        "\\",
        "#",
        "%",
        " ",
        "[",
        "]",
    ]
)
HOSTS = st.lists(PIECES, max_size=6).map("".join) | st.text(st.characters(max_codepoint=255), max_size=20)


@given(HOSTS)
def test_whatever_passes_as_host_is_this_machine_as_browsers_read_it(host):
    if ask(GUARD, ("Host", host)).status == 200:
        parts = urlsplit(f"http://{host}/")
        assert parts.hostname in {"127.0.0.1", "localhost", "::1"}
        assert (parts.username, parts.path) == (None, "/")


@given(HOSTS, st.sampled_from(["127.0.0.1:5000", "localhost", "[::1]:80"]))
def test_whatever_passes_as_origin_is_the_host_itself(name, host):
    passed = ask(GUARD, ("Host", host), ("Origin", f"http://{name}")).status == 200
    assert passed == (name == host)


@given(st.lists(st.tuples(st.sampled_from(["Host", "Origin", "Sec-Fetch-Site"]), HOSTS), max_size=4))
def test_no_list_of_headers_breaks_the_guard_or_opens_it(headers):
    hosts = [value for name, value in headers if name == "Host"]
    answer = ask(GUARD, *headers)
    assert answer.status in {200, 403}
    assert answer.status == 403 or len(hosts) == 1
