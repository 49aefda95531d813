"""What attackers send: a page on another port of this machine, raw requests, and the servers that they aim at."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

JAVASCRIPT = Path(__file__).with_name("attacks.js").read_text(encoding="utf-8")
SCRIPTS = re.findall(r"^  (\w+): ", JAVASCRIPT.partition("const ATTACKS")[2], re.MULTILINE)
RUN = f"""async ([name, targets]) => {{
  {JAVASCRIPT}
  const tried = async t => {{ try {{ return await ATTACKS[name](t) }} catch {{ return '' }} }}
  return Promise.all(targets.map(tried))
}}"""
MARK = "attack"  # what an attacker tries to make is called this
PREFECT = {
    "read": "/api/admin/version",
    "make": "/api/variables/",
    "list": "/api/variables/filter",
    "socket": "/api/events/in",
    "icon": "/ico/favicon-32x32.png",
    "body": {"name": MARK, "value": "made"},
}
MLFLOW = {
    "read": "/api/2.0/mlflow/experiments/search?max_results=10",
    "make": "/api/2.0/mlflow/experiments/create",
    "list": "/api/2.0/mlflow/experiments/search?max_results=100",
    "socket": "/",
    "icon": "/static-files/favicon.ico",
    "body": {"name": MARK},
}


@dataclass
class Target:
    """A server of ours: its address, what can be made and read there, and the credentials of its owner."""

    address: str
    paths: dict[str, object]
    credentials: dict[str, str] = field(default_factory=dict)

    @property
    def host(self) -> str:
        return urlsplit(self.address).netloc

    def ask(self, path: str, body: object = None, **headers: str) -> tuple[int, str]:
        """Returns the status and text of the answer to a program's request."""
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.address + path, data, {"Content-Type": "application/json", **headers})
        try:
            with urlopen(request, timeout=30) as response:
                return response.status, response.read().decode()
        except HTTPError as error:
            return error.code, error.read().decode()

    def is_untouched(self) -> bool:
        """Asks as the owner whether nothing was made."""
        body = None if self.paths is MLFLOW else {}
        status, text = self.ask(str(self.paths["list"]), body, **self.credentials)
        assert status == 200, text
        return f'"{MARK}"' not in text

    def send(self, *lines: str, body: object = None) -> tuple[int, str]:
        """Returns the status and text of the answer to raw lines, after which the body and its length follow."""
        data = b"" if body is None else json.dumps(body).encode()
        more = ["Content-Type: application/json", f"Content-Length: {len(data)}", "Connection: close", "", ""]
        parts = urlsplit(self.address)
        with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:
            connection.sendall("\r\n".join([*lines, *more]).encode("latin-1") + data)
            answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode("latin-1")
        return int(answer.split()[1]), answer


@contextmanager
def attackers_site(redirects: dict[str, str]) -> Iterator[str]:
    """Serves an empty page at an address on loopback, and redirects that keep method and body, by path."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            redirect = redirects.get(self.path)
            self.send_response(307 if redirect else 200)
            if redirect:
                self.send_header("Location", redirect)
            self.send_header("Content-Type", "text/html")
            self.send_header("Access-Control-Allow-Origin", "*")
            self.send_header("Access-Control-Allow-Headers", "*")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>attacker</title><body>")

        do_POST = do_OPTIONS = do_GET

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def script_values(target: Target, site: str) -> dict[str, str]:
    """Returns what the attacks in attacks.js take."""
    paths = {name: target.address + str(target.paths[name]) for name in ("read", "make", "icon")}
    socket_address = target.address.replace("http", "ws", 1) + str(target.paths["socket"])
    return {
        **paths,
        "socket": socket_address,
        "body": json.dumps(target.paths["body"]),
        "redirect": f"{site}/{target.host}",
    }
