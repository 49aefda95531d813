"""What must hold after each cycle, whatever was done to the command."""

from __future__ import annotations

import time
from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from flows.local.lock import is_held
from tests.soak import state
from tests.soak.processes import left_below, line_of
from tests.soak.scenarios import ANSWER

if TYPE_CHECKING:
    from tests.soak.trial import Trial

SHOWN = 6  # differences in a problem
PATIENCE = 15.0  # seconds in which a stopped server's processes end, and Prefect writes a last state
GOOD = "pass"


class Invariant(StrEnum):
    """An invariant of all cycles."""

    FINISHES = "the command finishes once the cause is gone"
    WORDS = "failures are told in words"
    RESULTS = "results are as undisturbed"
    RECOMPUTED = "no finished stage is computed again"
    VERSIONS = "one version for one content"
    RUNS = "no MLflow run is left RUNNING"
    FLOW_RUNS = "no flow run is left Running"
    LOCKS = "no lock is held"
    PROCESSES = "no process is left"
    LIVE = "live is the ledger's and has a good verdict"
    PERSON = "nothing of the person's is changed"
    ANSWER = "a version's tag tells the answer to its request"
    REFUSED = "a second command is refused or waits"


class Problem(NamedTuple):
    """A broken invariant."""

    invariant: Invariant
    text: str


def last_lines(output: str, count: int = 3) -> str:
    """Returns the end of an output in one line."""
    return " / ".join(line.strip() for line in output.strip().splitlines()[-count:])[-500:] or "no output"


def check_all(trial: Trial) -> None:
    """Checks a project after its command has finished, before and after a release."""
    check_results(trial)
    check_quiet(trial)
    check_versions(trial)
    check_person(trial)


def check_results(trial: Trial) -> None:
    """Compares the results with the undisturbed ones."""
    now, before = trial.scenario.facts(trial.root), trial.reference["facts"]
    names = sorted(name for name in now.keys() | before.keys() if now.get(name) != before.get(name))
    answers = [name for name in names if name.startswith(ANSWER)]
    results = [name for name in names if name not in answers]
    for invariant, some in ((Invariant.RESULTS, results), (Invariant.ANSWER, answers)):
        what = "; ".join(f"{name}: {before.get(name)} became {now.get(name)}"[:300] for name in some[:SHOWN])
        if some:
            trial.breaks(invariant, f"{len(some)} differ: {what}")


def check_quiet(trial: Trial) -> None:
    """Checks that nothing is left open: runs, locks, processes."""
    database = state.mlflow_database(trial.root)
    if running := [run for run, status in state.runs(database).items() if status == "RUNNING"]:
        trial.breaks(Invariant.RUNS, f"runs {running}")
    if left := _after_a_while(lambda: left_below(trial.root)):
        trial.breaks(Invariant.PROCESSES, "; ".join(" ".join(line_of(each))[-120:] for each in left))
    if open_runs := _after_a_while(lambda: _new_flow_runs(trial)):
        trial.breaks(Invariant.FLOW_RUNS, "; ".join(open_runs.values()))
    files = [*(trial.root / ".state").glob("*.lock"), *(trial.root / ".registry" / "ledger").glob("*.lock")]
    if held := [file.name for file in files if is_held(file)]:
        trial.breaks(Invariant.LOCKS, ", ".join(held))


def _new_flow_runs(trial: Trial) -> dict[str, str]:
    """Returns the open flow runs of the trial; a server of the whole test session has others, too."""
    runs = state.open_flow_runs(trial.prefect_database())
    is_shared = bool(trial.project.more)
    mine = runs.keys() & trial.flow_runs if is_shared else runs.keys() - trial.open_before
    return {number: runs[number] for number in mine}


def _after_a_while(look):
    """Returns what is still there after some seconds; the first empty answer is enough."""
    end = time.monotonic() + PATIENCE
    while (there := look()) and time.monotonic() < end:
        time.sleep(0.3)
    return there


def check_versions(trial: Trial) -> None:
    """Checks that no content is registered twice, and that every version is proved."""
    versions = state.versions(state.mlflow_database(trial.root))
    keys = Counter(version.tags.get("rootstock.key", "none") for version in versions)
    if twice := [key[:12] for key, count in keys.items() if count > 1]:
        trial.breaks(Invariant.VERSIONS, f"content {twice} is in {len(versions)} versions")
    if unproved := [version.number for version in versions if version.tags.get("rootstock.proof") != "passed"]:
        trial.breaks(Invariant.VERSIONS, f"versions {unproved} have no proof")


def check_person(trial: Trial) -> None:
    """Checks the sources and other files that Rootstock only reads."""
    now, before = trial.foreign_now(), trial.foreign
    if changed := sorted(name for name in now.keys() | before.keys() if now.get(name) != before.get(name)):
        trial.breaks(Invariant.PERSON, ", ".join(changed[:SHOWN]))


def check_live(trial: Trial, *, ended: bool = True) -> None:
    """Checks that only good versions have been live, and, after a release, that the alias is the ledger's."""
    database, lines = state.mlflow_database(trial.root), state.ledger(trial.root)
    live, recorded = state.aliases(database).get("live"), lines[-1]["live"] if lines else None
    if ended and live != recorded:
        trial.breaks(Invariant.LIVE, f"alias {live}, ledger {recorded}")
    approved = {line["version"] for line in lines if line["event"] == "approved"}
    verdicts = {str(version.number): version.tags.get("rootstock.verdict") for version in state.versions(database)}
    for number in {live, *(line["live"] for line in lines[len(trial.ledger) :])} - {None, *approved}:
        if verdicts.get(number, GOOD) != GOOD:
            trial.breaks(Invariant.LIVE, f"version {number} was live with the verdict {verdicts[number]}")
    if ended and trial.ledger_is_kept and lines[: len(trial.ledger)] != trial.ledger:
        trial.breaks(Invariant.LIVE, "earlier lines of the ledger are changed")
