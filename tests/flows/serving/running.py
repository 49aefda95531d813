"""A real server of `make serve`, and a process that releases versions beside it, in a checkout of their own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil

from tasks.core.files import read_json
from tests.project import ROOT, Project, environment

RELEASES = ROOT / "tests" / "flows" / "serving" / "releases.py"
SECONDS = 120.0  # for anything, on a busy machine


def until(condition, seconds=SECONDS, pause=0.05):
    """Waits until a condition holds. Returns its value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(pause)
    return value


class Releases:
    """The process that registers versions and releases them."""

    def __init__(self, root: Path, count: int, architecture: str = "resnet8", side: int = 32) -> None:
        self._log = (root / "releases.log").open("w")
        self._process = subprocess.Popen(
            [sys.executable, str(RELEASES), str(count), architecture, str(side)],
            cwd=root,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self._root = root
        assert self._process.stdout.readline() == '"ready"\n', (root / "releases.log").read_text()

    def act(self, line: str) -> None:
        """Does what the line says, such as `promote 2`."""
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == '"done"\n', (self._root / "releases.log").read_text()

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(SECONDS)
        self._process.stdout.close()
        self._log.close()


class Server:
    """A running `python -m flows serve`."""

    def __init__(self, root: Path, *arguments: str, **more: str) -> None:
        self._root = root
        self._log = (root / "serve.out").open("w")
        command = [sys.executable, "-m", "flows", "serve", "--port", "0", *arguments]
        self.process = subprocess.Popen(
            command, cwd=root, env=environment(**more), stdout=self._log, stderr=subprocess.STDOUT, text=True
        )
        until(lambda: self._alive() and self.status().get("pid") == self.process.pid)
        self.url = self.status()["url"]
        host, _, port = self.url.removeprefix("http://").partition(":")
        self.address = (host, int(port))
        self.client = httpx.Client(base_url=self.url, timeout=60, trust_env=False)
        until(self.is_up)

    def _alive(self) -> bool:
        assert self.process.poll() is None, self.printed()
        return True

    def printed(self) -> str:
        """Returns what it has printed."""
        return (self._root / "serve.out").read_text()

    def status(self) -> dict:
        file = self._root / ".state" / "serve" / "status.json"
        return read_json(file) if file.exists() else {}

    def is_up(self) -> bool:
        try:
            return self.client.get("/v2/health/live").status_code == 200
        except httpx.TransportError:
            return False

    def wait_for(self, version: str) -> None:
        """Waits until this version answers."""
        until(lambda: self._alive() and self._answers(version))

    def _answers(self, version: str) -> bool:
        try:
            about = self.client.get("/").json()
        except httpx.TransportError:  # the front has just died
            return False
        return about.get("version") == version and about["ready"]

    def predict(self, data: bytes, **headers: str) -> httpx.Response:
        return self.client.post("/predict", content=data, headers={"content-type": "image/png", **headers})

    def children(self, module: str = "") -> list[psutil.Process]:
        """Returns the processes that it has started, of one module."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in family if f"flows.serving.{module}" in " ".join(child.cmdline())]

    def worker(self) -> psutil.Process:
        """Returns the worker that answers; others are in reserve."""
        return psutil.Process(until(lambda: self.status().get("workers"))[0])

    def close(self, number: int = signal.SIGINT) -> None:
        if self.process.poll() is not None:
            return
        self.client.close()
        self.process.send_signal(number)
        self.process.wait(SECONDS)
        self._log.close()


def checkout(root: Path) -> Path:
    """Creates a checkout with nothing in it."""
    Project.fresh(root, None)
    return root


def version_of(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    return json.loads(response.content)["version"]
