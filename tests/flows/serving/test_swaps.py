"""Twenty changes of the version under load, with workers and the front killed: only the front's requests fail."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from itertools import cycle
from threading import Event, Thread

import httpx
import psutil
import pytest

from tests.flows.serving.running import Releases, Server, checkout, until
from tests.registered.drawing import picture

SWAPS, REQUESTS, CLIENTS = 20, 5000, 4
KILLED_WORKERS, KILLED_FRONT = (5, 13), 9  # during these swaps


@dataclass
class Answer:
    """What a request got: when it was sent and answered, and the version, or the error."""

    sent: float
    answered: float
    version: str | None
    error: str = ""


@dataclass
class Load:
    """Clients that ask without a pause until they are stopped."""

    url: str
    answers: list[Answer] = field(default_factory=list)
    stopped: Event = field(default_factory=Event)

    def __enter__(self):
        self.threads = [Thread(target=self._ask) for _ in range(CLIENTS)]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        for thread in self.threads:
            thread.join()

    def _ask(self) -> None:
        data = picture(1)
        with httpx.Client(base_url=self.url, timeout=60, trust_env=False) as client:
            while not self.stopped.is_set():
                sent = time.time()
                try:
                    response = client.post("/predict", content=data, headers={"content-type": "image/png"})
                    answer = Answer(sent, time.time(), response.headers.get("x-rootstock-version"))
                    if not response.is_success:
                        answer = Answer(sent, time.time(), None, f"{response.status_code} {response.text}")
                except httpx.TransportError as error:
                    answer = Answer(sent, time.time(), None, type(error).__name__)
                self.answers.append(answer)
                time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_twenty_swaps_under_load_lose_no_answer(tmp_path):
    root = checkout(tmp_path / "checkout")
    settled = []  # from when a version answers, until another one is promoted
    with closing(Releases(root, 2)) as releases:
        releases.act("promote 1")
        with closing(Server(root)) as server:
            server.wait_for("1")
            with Load(server.url) as load:
                for swap, version in zip(range(SWAPS), cycle("21"), strict=False):
                    releases.act("promote 2" if version == "2" else "rollback")
                    if swap in KILLED_WORKERS:
                        server.worker().kill()
                    if swap == KILLED_FRONT:
                        killed = time.time()
                        server.children("front")[0].kill()
                    server.wait_for(version)
                    began = time.time()
                    time.sleep(0.5)
                    settled.append((began, time.time(), version))
                until(lambda: len(load.answers) >= REQUESTS)
            until(lambda: len(server.children("worker")) == 2)  # one is in reserve
            until(lambda: len(list((root / ".state" / "serve" / "versions").iterdir())) == 1)
            left = psutil.Process(server.process.pid).num_fds()
    failed = [answer for answer in load.answers if answer.error]
    assert len(failed) <= CLIENTS, Counter(answer.error for answer in failed)
    assert all(answer.sent - 2 < killed < answer.answered + 2 for answer in failed), failed
    assert {answer.version for answer in load.answers if not answer.error} == {"1", "2"}
    meanwhile = [
        (answer.version, version)
        for began, ended, version in settled
        for answer in load.answers
        if began <= answer.sent and answer.answered <= ended and not answer.error
    ]
    assert len(meanwhile) > SWAPS
    assert all(answered == version for answered, version in meanwhile)
    assert left < 40
