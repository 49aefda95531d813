"""The front's application in this process: who may ask, which paths there are, health and metrics."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from flows.serving.front_app import front_app
from flows.serving.messages import Route
from flows.serving.router import Router
from tasks.serving.limits import Limits

LIMITS = Limits(max_mib=1, max_pixels=10**6, max_images=2, seconds=0.3)
TOKEN = "a long enough token"  # noqa: S105


def asked(method="GET", path="/", *, token=None, route=None, headers=(), content=b"", host="localhost"):
    """Returns the response of a new application."""

    async def ask():
        router = Router(2, 2, lambda _generation: None)
        if route:
            router.flip(route)
        transport = httpx.ASGITransport(front_app(router, LIMITS, token, ()))
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
            return await client.request(method, path, headers=dict(headers), content=content)

    return asyncio.run(ask())


def test_with_a_token_only_health_is_open():
    assert asked("POST", "/predict", token=TOKEN).status_code == 401
    assert asked("GET", "/metrics", token=TOKEN, headers={"authorization": "Bearer wrong"}).status_code == 401
    assert asked("GET", "/metrics", token=TOKEN, headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert asked("GET", "/v2/health/live", token=TOKEN).status_code == 200
    assert TOKEN not in asked("GET", "/", token=TOKEN).text


def test_a_request_to_another_host_or_from_another_site_is_refused():
    assert asked(host="attacker.example").status_code == 403
    assert asked(headers={"origin": "http://attacker.example"}).status_code == 403
    assert asked(headers={"sec-fetch-site": "cross-site"}).status_code == 403


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/predict", 405),
        ("GET", "/elsewhere", 404),
        ("GET", "/v2/models/../../etc/passwd", 404),
        ("POST", "/v2/models/m/unload", 404),
        ("DELETE", "/v2/models/m", 405),
        ("GET", "/docs", 404),
    ],
)
def test_only_known_paths_are_answered(method, path, status):
    response = asked(method, path)
    assert response.status_code == status
    assert response.json().keys() == {"error"}


def test_a_request_whose_end_is_unclear_is_refused():
    """h11 takes Transfer-Encoding and leaves Content-Length out, which a proxy may do the other way round."""
    both = {"transfer-encoding": "chunked", "content-length": "3"}
    response = asked("POST", "/predict", headers=both, content=b"abc")
    assert response.status_code == 400
    assert response.headers["connection"] == "close"


def test_an_unclear_end_is_refused_before_the_host_is_looked_at():
    both = {"transfer-encoding": "chunked", "content-length": "3"}
    assert asked("POST", "/predict", headers=both, content=b"abc", host="attacker.example").status_code == 400


def test_a_number_sign_in_a_target_is_refused():
    async def ask():
        sent = []
        router = Router(2, 2, lambda _generation: None)
        router.flip(Route(1, "m", "1", "digest", ("/nowhere",)))
        scope = {"type": "http", "method": "POST", "path": "/predict", "raw_path": b"/predict", "query_string": b"a#b"}
        scope |= {"headers": [(b"host", b"localhost")], "http_version": "1.1", "scheme": "http", "root_path": ""}

        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message):
            sent.append(message)

        await front_app(router, LIMITS, None, ())(scope, receive, send)
        return sent[0]["status"]

    assert asyncio.run(ask()) == 400


def test_compressed_bodies_are_refused():
    assert asked("POST", "/predict", headers={"content-encoding": "gzip"}, content=b"abc").status_code == 415


def test_without_workers_a_request_waits_until_its_time_limit():
    restarting = Route(1, "m", "1", "digest", ())
    response = asked("POST", "/predict", route=restarting, content=b"abc")
    assert (response.status_code, response.json()["error"]) == (504, "no answer within 0.3 seconds (serve.seconds)")
    assert asked("GET", "/v2/health/ready", route=restarting).status_code == 503


def test_a_large_body_is_refused():
    route = Route(1, "m", "1", "digest", ())
    assert asked("POST", "/predict", route=route, content=b"x" * (2**20 + 1)).status_code == 413


def test_metrics_count_answers_by_path_and_never_by_what_strangers_invent():
    asked("GET", "/invented/by/a/stranger")
    text = asked("GET", "/metrics").text
    assert 'rootstock_serve_requests_total{path="other",status="404"}' in text
    assert "stranger" not in text
