"""Conditions of two commands at once: in one checkout, in two with one registry, and into one folder of answers."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from urllib.request import urlopen

from tests.project import Project, environment, wait_until
from tests.soak import state
from tests.soak.attempt import Attempt
from tests.soak.invariants import Invariant, last_lines
from tests.soak.trial import Trial

DELAY = 4.0  # longest time between the two starts, in seconds


def two_retrainings(trial: Trial) -> None:
    """Starts a retraining while another one works: it is refused, and the first finishes."""
    first = trial.start()
    wait_until(lambda: first.is_over() or first.phase() != "start", 120)
    time.sleep(DELAY * trial.cycle.variant)
    code, output = trial.run(is_disturbed=True)
    if code != 1 or "busy" not in output:
        trial.breaks(Invariant.REFUSED, f"code {code}: {last_lines(output)}")
    trial.end(first, is_disturbed=False)


def two_predictions(trial: Trial) -> None:
    """Starts two predictions of one folder into one folder."""
    first = trial.start()
    time.sleep(DELAY * trial.cycle.variant)
    second = trial.start()
    for attempt in (first, second):
        trial.end(attempt, is_disturbed=False)


def two_checkouts(kind: str) -> Callable[[Trial], None]:
    """Returns the condition of two checkouts that register the same content in one store at the same time."""

    def run(trial: Trial) -> None:
        second = Project(trial.folder / "second", trial.workshop.api)
        trial.workshop.base(trial.scenario.base).copy(second.root)
        place = nullcontext(_database(trial)) if kind == "database" else _server(trial)
        with place as uri:
            _register_both(trial, second, str(uri))
            codes = [_release(trial, project, str(uri)) for project in (trial.project, second)]
        if kind == "database" and codes != [True, False]:
            trial.breaks(Invariant.LIVE, f"of two ledgers, these released: {codes}")
        _check_second(trial, second)

    return run


def _database(trial: Trial) -> str:
    return f"sqlite:///{state.mlflow_database(trial.root)}"


@contextmanager
def _server(trial: Trial) -> Iterator[str]:
    """Serves the first checkout's database."""
    port = 20000 + trial.cycle.number % 1000
    command = [sys.executable, "-m", "flows.local.server", "mlflow", str(port)]
    with (trial.folder / "server.log").open("w") as log:
        server = subprocess.Popen(command, cwd=trial.root, env=environment(), stdout=log, stderr=log)
    try:
        wait_until(lambda: _answers(port), 120)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def _answers(port: int) -> bool:
    try:
        return urlopen(f"http://127.0.0.1:{port}/health", timeout=5).status == 200
    except OSError:
        return False


def _register_both(trial: Trial, second: Project, uri: str) -> None:
    first = trial.start(MLFLOW_TRACKING_URI=uri)
    time.sleep(DELAY * trial.cycle.variant / 2)
    other = trial.start(project=second, MLFLOW_TRACKING_URI=uri)
    for attempt in (first, other):
        code = trial.end(attempt)
        if not trial.is_done(code):
            trial.breaks(Invariant.FINISHES, f"one of two checkouts, code {code}: {last_lines(attempt.output)}")
            trial.end(_again(trial, attempt, second, uri), is_disturbed=False)


def _again(trial: Trial, attempt: Attempt, second: Project, uri: str) -> Attempt:
    project = second if attempt.root == second.root else trial.project
    return trial.start(project=project, MLFLOW_TRACKING_URI=uri)


def _release(trial: Trial, project: Project, uri: str) -> bool:
    """Returns whether a checkout may release; one that may not must say who does."""
    attempt = trial.start("release", project=project, MLFLOW_TRACKING_URI=uri)
    code = trial.end(attempt)
    if code and "release and roll back there" not in attempt.output:
        trial.breaks(Invariant.WORDS, f"the second ledger: {last_lines(attempt.output)}")
    return code == 0


def _check_second(trial: Trial, second: Project) -> None:
    outputs = {name: of for name, of in trial.reference["facts"].items() if "/" in name}
    if state.outputs(second.root) != outputs:
        trial.breaks(Invariant.RESULTS, "those of the second checkout differ")
