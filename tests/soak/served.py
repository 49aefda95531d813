"""Cycles with all of make up: its servers, worker and watcher are the victims, and make up starts them again."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable

from tests.project import wait_until
from tests.soak import state
from tests.soak.attempt import blow
from tests.soak.draw import Fault
from tests.soak.invariants import Invariant, check_live, last_lines
from tests.soak.processes import SERVERS, server
from tests.soak.trial import Trial

ANSWER = 60.0  # seconds in which the watcher answers a promotion, or a release under way ends
ADDRESS = re.compile(r"^(\w+) +(http\S+)$", re.MULTILINE)


def up(trial: Trial) -> dict[str, str]:
    """Starts what is missing. Returns the addresses."""
    code, output = trial.run("up", is_disturbed=True)
    if code:
        trial.breaks(Invariant.FINISHES, f"make up ended with code {code}: {last_lines(output)}")
    lines = shlex.split(trial.project.flows("env").stdout)
    trial.project.env = {"PREFECT_HOME": str(trial.root / ".registry" / "prefect")}
    trial.project.env |= dict(line.split("=", 1) for line in lines if line.startswith("PREFECT_"))
    return dict(ADDRESS.findall(output))


def down(trial: Trial) -> None:
    """Stops everything, so that the cycle's project can be checked."""
    code, output = trial.run("down", "--now", is_disturbed=True)
    if code:
        trial.breaks(Invariant.FINISHES, f"make down ended with code {code}: {last_lines(output)}")


def promote(trial: Trial) -> None:
    """Promotes a version while servers, worker and watcher are hit; the watcher answers in the end."""
    up(trial)
    trial.scenario.prepare(trial.project)
    trial.project.prefect("deployment", "run", "release/now")
    for fault in trial.cycle.faults:
        time.sleep(6 * fault.fraction)
        _hit(trial, fault, "promote")
    up(trial)
    challenger = state.aliases(state.mlflow_database(trial.root)).get("challenger")
    try:
        wait_until(lambda: state.aliases(state.mlflow_database(trial.root)).get("live") == challenger, ANSWER)
    except AssertionError:
        trial.breaks(Invariant.FINISHES, f"the watcher did not release version {challenger} within {ANSWER:.0f} s")
        trial.run("release", is_disturbed=True)
    _wait_for_flow_runs(trial)
    check_live(trial)
    down(trial)


def _wait_for_flow_runs(trial: Trial) -> None:
    try:
        wait_until(lambda: not state.open_flow_runs(trial.prefect_database()), ANSWER)
    except AssertionError:
        runs = state.open_flow_runs(trial.prefect_database())
        trial.breaks(Invariant.FLOW_RUNS, f"a minute after make up: {'; '.join(runs.values())}")
        trial.open_before |= set(runs)


def retrain(trial: Trial) -> None:
    """Retrains by way of both servers, which are hit and started again."""
    addresses = up(trial)
    attempt = trial.start(MLFLOW_TRACKING_URI=addresses.get("mlflow", ""))
    for fault in trial.cycle.faults:
        if not attempt.await_phase(fault, trial.reference["lengths"]):
            trial.missed += 1
            continue
        if fault.victim in SERVERS:
            _hit(trial, fault, attempt.phase())
            addresses = up(trial)
        elif phase := attempt.strike(fault, slow=trial.slow):
            trial.hits.append((fault.victim.value, fault.blow.value, phase))
    trial.end(attempt)
    trial.finish(MLFLOW_TRACKING_URI=addresses.get("mlflow", ""))
    down(trial)


def _hit(trial: Trial, fault: Fault, phase: str) -> None:
    process = server(trial.root, SERVERS[fault.victim])
    if process is None:
        trial.missed += 1
        return
    blow(process.pid, fault, slow=trial.slow)
    trial.hits.append((fault.victim.value, fault.blow.value, phase))


SERVED: dict[str, Callable[[Trial], None]] = {"promote": promote, "served retrain": retrain}
