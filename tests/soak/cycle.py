"""Runs one cycle: faults until they are used up, then the same command undisturbed, then the invariants."""

from __future__ import annotations

import time
from collections import deque
from typing import NamedTuple

from tests.soak import state
from tests.soak.conditions import CONDITIONS
from tests.soak.draw import Cycle, Fault
from tests.soak.invariants import Invariant, check_all, check_live
from tests.soak.scenarios import request_challenger, result_facts
from tests.soak.served import SERVED
from tests.soak.trial import Trial
from tests.soak.workshop import Workshop


class Outcome(NamedTuple):
    """What a cycle did and broke, as the result file has it."""

    number: int
    scenario: str
    condition: str | None
    hits: list[tuple[str, str, str]]
    missed: int
    problems: list[tuple[str, str]]
    left_out: str
    seconds: float
    note: str = ""


def run_cycle(workshop: Workshop, cycle: Cycle, *, slow: bool = False) -> Outcome:
    """Runs a cycle in a copy of its base project. The project is kept if an invariant broke."""
    began = time.monotonic()
    trial = Trial(workshop, cycle, slow=slow)
    try:
        _disturb(trial)
        if not trial.left_out:
            _conclude(trial)
    except Exception as error:  # of the harness: it is shown as broken, and the soak goes on
        trial.breaks(Invariant.FINISHES, f"the soak itself failed: {type(error).__name__}: {error}")
    finally:
        trial.close(keep=bool(trial.problems))
    problems = [(problem.invariant.value, problem.text) for problem in trial.problems]
    seconds = round(time.monotonic() - began, 1)
    what = (cycle.number, cycle.scenario, cycle.condition, trial.hits, trial.missed)
    return Outcome(*what, problems, trial.left_out, seconds, trial.note)


def _disturb(trial: Trial) -> None:
    """Makes the cycle's faults or its condition, and lets the command finish."""
    cycle = trial.cycle
    if cycle.condition:
        CONDITIONS[cycle.condition](trial)
        return
    if cycle.scenario in SERVED:
        SERVED[cycle.scenario](trial)
        return
    trial.scenario.prepare(trial.project)
    is_done = kill_faults(trial)
    if not _is_rolled_back(trial, is_done):
        trial.finish()


def kill_faults(trial: Trial) -> bool:
    """Delivers the faults in order, and starts the command again whenever one has ended it.

    Returns whether the command has finished in spite of the last faults.
    """
    faults = deque(trial.cycle.faults)
    is_done = False
    while faults and not is_done:
        attempt = trial.start()
        while faults and attempt.await_phase(faults[0], trial.reference["lengths"]):
            _strike(trial, attempt, faults.popleft())
        is_done = trial.is_done(trial.end(attempt)) or _is_rolled_back(trial)
        check_live(trial, ended=False)
    trial.missed += len(faults)
    return is_done


def _strike(trial: Trial, attempt, fault: Fault) -> None:
    phase = attempt.strike(fault, slow=trial.slow)
    if phase is None:
        trial.missed += 1
    else:
        trial.hits.append((fault.victim.value, fault.blow.value, phase))


def _is_rolled_back(trial: Trial, is_done: bool = False) -> bool:
    """Returns whether a rollback is complete, though it was killed before it could say so: another goes on back."""
    if trial.arguments[0] != "rollback":
        return False
    lines = state.ledger(trial.root)
    live = state.aliases(state.mlflow_database(trial.root)).get("live")
    return is_done or (len(lines) > len(trial.ledger) and lines[-1]["live"] == live)


def _conclude(trial: Trial) -> None:
    """Checks all invariants; after a retraining, also that its version can go live."""
    check_all(trial)
    database = state.mlflow_database(trial.root)
    if trial.scenario.facts is result_facts and "challenger" in state.aliases(database):
        request_challenger(trial.project)
    if trial.arguments[0] != "release":
        trial.run("release", is_disturbed=True)
    check_live(trial)
