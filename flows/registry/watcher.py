"""The watcher: starts a release soon after a person has asked for a promotion in MLflow. Started by make up.

It asks MLflow's REST API every few seconds, which costs a few milliseconds; a release imports MLflow, which costs
seconds, and runs only if there is something to answer, and every few minutes anyway. It also rotates the servers' logs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache, partial
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

from flows.local.auth import basic
from flows.local.environment import LOCAL_DATABASE, MAIN_CHECKOUT
from flows.local.rotation import rotate
from flows.local.servers import server_logs
from flows.registry.aliases import CHAMPION, LIVE, PRODUCTION
from tasks.core.params import PARAMS_FILE, read_document

POLL_SECONDS = 5.0
ANYWAY_SECONDS = 300.0  # longest time between two releases, which also repair an alias that was moved by hand
TIMEOUT = 10.0  # seconds
RELEASE_SECONDS = 600.0  # after which a release is stopped, such as one that hangs on a network file system
HTTP = ("http://", "https://")
MISSING = "RESOURCE_DOES_NOT_EXIST"  # MLflow's code


class RegistryState(NamedTuple):
    """What promotion requests change: the versions of two aliases, and when a copy was last promoted."""

    champion: str | None = None
    live: str | None = None
    promoted: int | None = None


class Pace:
    """Decides when to release, from the states before and after the last release."""

    def __init__(self) -> None:
        self._before = self._after = RegistryState()
        self._last = -ANYWAY_SECONDS

    def is_due(self, state: RegistryState | None, now: float) -> bool:
        """Returns whether to release. `state` is None if it is unknown, and `now` is in seconds."""
        return now - self._last >= ANYWAY_SECONDS or (state is not None and self._is_new(state))

    def _is_new(self, state: RegistryState) -> bool:
        """Returns whether there is a request, or a moved alias, that the last release cannot have seen.

        A request that the last release left as it was is not tried again: another ledger may own the model.
        """
        left_alone = state == self._after == self._before
        is_requested = state.champion not in {None, state.live} and not left_alone
        return is_requested or state.live != self._after.live or state.promoted != self._before.promoted

    def released(self, before: RegistryState | None, after: RegistryState | None, now: float) -> None:
        """Records a release and the states before and after it."""
        self._before, self._after, self._last = before or self._before, after or self._after, now


def registry_state(mlflow: str, model: str) -> RegistryState:
    """Asks an MLflow server for the state of a model. Raises OSError or ValueError if it gives none."""
    aliases = {entry["alias"]: str(entry["version"]) for entry in _registered(mlflow, model).get("aliases", [])}
    promoted = _registered(mlflow, f"{model}{PRODUCTION}").get("last_updated_timestamp")
    return RegistryState(aliases.get(CHAMPION), aliases.get(LIVE), promoted)


def _registered(mlflow: str, name: str) -> dict[str, Any]:
    """Returns the fields of a registered model; empty if there is none."""
    parts = urlsplit(f"{mlflow}/api/2.0/mlflow/registered-models/get?name={quote(name, safe='')}")
    address = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    headers = _credentials(parts.username, parts.password)
    try:
        with urlopen(Request(address, headers=headers), timeout=TIMEOUT) as response:  # noqa: S310 - http(s), see HTTP
            return dict(json.load(response)["registered_model"])
    except HTTPError as error:
        if error.code != HTTPStatus.NOT_FOUND or json.load(error).get("error_code") != MISSING:
            raise  # a proxy in front of a server that is away says 404, too
        return {}


def _credentials(user: str | None, password: str | None) -> dict[str, str]:
    """Returns the header for credentials in the address or, as in MLflow's clients, in the environment."""
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return {"Authorization": f"Bearer {token}"}
    if user := user or os.environ.get("MLFLOW_TRACKING_USERNAME"):
        return {"Authorization": basic(f"{user}:{password or os.environ.get('MLFLOW_TRACKING_PASSWORD', '')}")}
    return {}


def address_of(uri: str, ours: str) -> str | None:
    """Returns the address of the server that shows a tracking URI's registry; None for a database without one."""
    return uri.rstrip("/") if uri.startswith(HTTP) else ours if uri == LOCAL_DATABASE else None


@lru_cache(maxsize=1)
def _model(_mtime_ns: int) -> str:
    """Returns the model that params.yaml names. It is read again only if it has changed: that costs 100 ms."""
    return str(read_document(PARAMS_FILE)["register"]["model"])


def release() -> None:
    """Runs a release as a child process, which takes its own locks, and logs what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "flows", "release"],
        cwd=MAIN_CHECKOUT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=RELEASE_SECONDS,
    )
    _say(done.stdout.strip())


def _say(text: str) -> None:
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", flush=True)


class Watcher:
    """Watches one registry; its server may come and go, and params.yaml may be edited meanwhile."""

    def __init__(self, mlflow: str | None) -> None:
        self._mlflow, self._pace, self._complaint = mlflow, Pace(), ""

    def step(self) -> None:
        """Releases if that is due."""
        state = self._state()
        if self._pace.is_due(state, time.monotonic()):
            release()
            self._pace.released(state, self._state(), time.monotonic())

    def _state(self) -> RegistryState | None:
        """Returns the model's state, or None if nobody tells it; the reason is logged once."""
        if self._mlflow is None:
            return None
        complaint, state = "", None
        try:
            state = registry_state(self._mlflow, _model(PARAMS_FILE.stat().st_mtime_ns))
        except Exception as error:
            complaint = f"cannot ask MLflow: {type(error).__name__}: {error}"
        if complaint != self._complaint:
            _say(complaint or "MLflow answers again")
        self._complaint = complaint
        return state


def main(ours: str) -> None:
    """Watches for ever; `ours` is the address of the MLflow server that make up has started."""
    watcher, logs = Watcher(address_of(os.environ["MLFLOW_TRACKING_URI"], ours)), server_logs()
    while True:
        _survive(watcher.step)
        for file in logs:
            _survive(partial(rotate, file))
        time.sleep(POLL_SECONDS)


def _survive(step: Callable[[], object]) -> None:
    """Runs a step; a full disk or a lack of memory now must not end the watcher, which nobody would start again."""
    with suppress(Exception):
        try:
            step()
        except Exception as error:
            _say(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main(sys.argv[1])
