"""Archives on a web server, which may also be hostile, and hostile answers of an S3 server."""

from __future__ import annotations

import asyncio
import shutil
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

import pytest

from flows.sources.images import images_of
from flows.sources.redirects import _check
from tasks.core.errors import DataRefusedError, ParamsError, RootstockError
from tests.drawn import write_shapes
from tests.errors import raises

LISTED = "<Contents><Key>{}</Key><Size>{}</Size><ETag>&quot;{}&quot;</ETag></Contents>"


class Web(ThreadingHTTPServer):
    """A web server: its pages by path, the status and headers of some, and the paths that were read."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.pages: dict[str, bytes] = {}
        self.answers: dict[str, tuple[int, dict[str, str]]] = {}
        self.read: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Web

    def do_GET(self) -> None:
        self.server.read.append(self.path)
        self._answer(self._begin())

    def do_HEAD(self) -> None:
        self._begin()

    def _begin(self) -> bytes:
        path = urlsplit(self.path).path
        content = self.server.pages.get(path, b"")
        missing = path not in self.server.pages and path not in self.server.answers
        status, headers = self.server.answers.get(path, (404 if missing else 200, {}))
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        return content

    def _answer(self, content: bytes) -> None:
        self.wfile.write(content)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web() -> Iterator[Web]:
    with Web() as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def shapes(tmp_path) -> Path:
    return write_shapes(tmp_path / "shapes", {"": 2})


@pytest.fixture
def zipped(shapes) -> bytes:
    return Path(shutil.make_archive(str(shapes), "zip", shapes)).read_bytes()


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))


@pytest.mark.parametrize("tag", ["ETag", "Last-Modified"])
def test_an_archive_is_downloaded_once_and_again_when_it_changes(web, shapes, zipped, params, tag):
    web.pages["/sets/shapes.zip"] = zipped
    web.answers["/sets/shapes.zip"] = (200, {tag: "first"})
    settings = params(data={"source": f"{web.url}/sets/shapes.zip?download=1"})
    folder = images_of(settings)
    assert names(folder) == names(shapes)
    assert images_of(settings) == folder
    assert web.read == ["/sets/shapes.zip?download=1"]
    web.answers["/sets/shapes.zip"] = (200, {tag: "second"})
    images_of(settings)
    assert len(web.read) == 2


def test_an_archive_without_a_date_is_downloaded_each_time(web, zipped, params):
    web.pages["/shapes.zip"] = zipped
    for _ in range(2):
        images_of(params(data={"source": f"{web.url}/shapes.zip"}))
    assert web.read == ["/shapes.zip"] * 2


def test_a_truncated_body_is_no_archive(web, zipped, params, tmp_path):
    web.pages["/shapes.zip"] = zipped[:-100]
    web.answers["/shapes.zip"] = (200, {"Content-Length": str(len(zipped))})
    with raises(RootstockError, "source-unreachable"):
        images_of(params(data={"source": f"{web.url}/shapes.zip"}))
    assert list((tmp_path / ".state").rglob("*.zip")) == []
    web.answers.clear()
    with raises(DataRefusedError, "archive-damaged"):
        images_of(params(data={"source": f"{web.url}/shapes.zip"}))


@pytest.mark.parametrize(
    ("status", "key"), [(401, "source-denied"), (403, "source-denied"), (500, "source-unreachable")]
)
def test_an_answer_with_an_error_is_told(web, params, status, key):
    web.answers["/shapes.zip"] = (status, {})
    with raises(RootstockError, key) as caught:
        images_of(params(data={"source": f"{web.url}/shapes.zip"}))
    assert f"{web.url}/shapes.zip" in str(caught.value)


def test_an_archive_that_is_not_there_is_told(web, params):
    with raises(ParamsError, "data.source"):
        images_of(params(data={"source": f"{web.url}/none.zip"}))


def test_a_redirection_is_followed_on_the_same_network_and_to_no_file(web, shapes, zipped, params):
    web.pages["/real.zip"] = zipped
    web.answers["/shapes.zip"] = (302, {"Location": "/real.zip"})
    assert names(images_of(params(data={"source": f"{web.url}/shapes.zip"}))) == names(shapes)
    web.answers["/passwd.zip"] = (302, {"Location": "file:///etc/passwd"})
    with raises(RootstockError, "source-unreachable"):
        images_of(params(data={"source": f"{web.url}/passwd.zip"}))


@pytest.mark.parametrize(
    ("scheme", "origin", "location", "is_refused"),
    [
        ("http", "93.184.215.14", "http://169.254.169.254/latest/meta-data", True),
        ("http", "93.184.215.14", "http://127.0.0.1:4200/api", True),
        ("http", "93.184.215.14", "http://[::1]/x", True),
        ("http", "93.184.215.14", "http://10.0.0.1/x.zip", True),
        ("https", "93.184.215.14", "http://93.184.215.14/x.zip", True),
        ("http", "93.184.215.14", "https://93.184.215.15/x.zip", False),
        ("http", "10.0.0.1", "http://10.0.0.2/x.zip", False),
        ("http", "10.0.0.1", "/x.zip", False),
        ("http", "public-and-internal.example", "http://169.254.169.254/latest/meta-data", True),
    ],
)
def test_a_redirection_into_this_network_or_without_encryption_is_refused(
    scheme, origin, location, is_refused, monkeypatch
):
    """The check is called with what aiohttp passes to it, since tests have no server on the public internet."""
    resolved, both = socket.getaddrinfo, ["93.184.215.14", "10.0.0.1"]
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *rest, **more: [
            address
            for one in (both if host == "public-and-internal.example" else [host])
            for address in resolved(one, *rest, **more)
        ],
    )
    response = SimpleNamespace(url=f"{scheme}://{origin}/first.zip", headers={"Location": location})
    call = _check(None, None, SimpleNamespace(response=response))
    if is_refused:
        with pytest.raises(PermissionError):
            asyncio.run(call)
    else:
        asyncio.run(call)


@pytest.fixture
def listed(web, monkeypatch):
    """Returns a function that makes the web server answer as an S3 server with these objects, of any name and size."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", web.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")

    def answer(objects, size=None):
        rows = "".join(LISTED.format(escape(key), size or len(body), len(body)) for key, body in objects.items())
        page = f"<ListBucketResult><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>"
        web.pages["/bucket"] = page.encode()
        web.pages |= {f"/bucket/{key}": body for key, body in objects.items()}

    return answer


@pytest.mark.parametrize("name", ["../../escaped.png", "a/../../x.png", "/etc/cron.d/x", "a//b", "a\\..\\b", "bar"])
def test_names_that_a_hostile_server_lists_are_refused_before_anything_is_read(listed, web, params, tmp_path, name):
    listed({"set/bar/0.png": b"x", f"set/{name}": b"x"})
    with raises(DataRefusedError, "source-names"):
        images_of(params(data={"source": "s3://bucket/set"}))
    assert [path for path in web.read if not path.startswith("/bucket?")] == []
    assert [path.name for path in tmp_path.rglob("*") if path.is_file() and path.suffix == ".png"] == []


def test_fewer_bytes_than_listed_are_refused(listed, params, tmp_path):
    listed({"set/bar/0.png": b"short"}, size=50)
    with raises(RootstockError, "source-changed") as caught:
        images_of(params(data={"source": "s3://bucket/set"}))
    assert "5 bytes instead of 50" in str(caught.value)
    assert list(tmp_path.rglob("*.png")) == []


def test_an_object_that_is_listed_and_gone_is_told(listed, web, params):
    listed({"set/bar/0.png": b"x", "set/bar/1.png": b"x"})
    del web.pages["/bucket/set/bar/1.png"]
    with raises(RootstockError, "source-changed"):
        images_of(params(data={"source": "s3://bucket/set"}))
