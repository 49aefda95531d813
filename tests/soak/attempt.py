"""One start of a command: its output so far, the phase that it is in, and the blows to its processes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from flows.local.lock import is_held
from tasks.core.schema import STAGES
from tests.project import Project, environment
from tests.soak import state
from tests.soak.draw import END, GATE, PHASES, REGISTER, SOURCE, START, Blow, Fault, Moment, Victim
from tests.soak.processes import descendants, end_all, line_of, stage_in, victim_of

STEP = re.compile(r"^(\w+) *\| (?!warning)", re.MULTILINE)
LIMIT = 420.0  # seconds after which a command hangs
POLL, QUICK_POLL = 0.08, 0.003  # seconds
SEARCH = 4.0  # seconds within which a victim comes, or its phase is over
SIGNALS = {Blow.KILL: signal.SIGKILL, Blow.TERM: signal.SIGTERM, Blow.HUP: signal.SIGHUP}


class Attempt:
    """A command that has been started; its output goes to a file."""

    def __init__(self, project: Project, arguments: tuple[str, ...], log: Path, **more: str) -> None:
        self.root, self.log = project.root, log
        self._before = {moment: mark(project.root) for moment, mark in MARKS.items()}
        self._has_held = False
        command = [sys.executable, "-m", "flows", *arguments]
        with log.open("w") as file:
            self.process = subprocess.Popen(
                command,
                cwd=project.root,
                env=environment(**{**project.more, **more}),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        self.name = arguments[0]
        self.began = time.monotonic()

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def is_over(self) -> bool:
        return self.process.poll() is not None

    def wait(self, seconds: float = LIMIT) -> int | None:
        """Returns the exit code; None if the command hung, and was killed. A stopped soak waits no time."""
        for _ in range(int(seconds)):
            try:
                return self.process.wait(1)
            except subprocess.TimeoutExpired:
                continue
        end_all([*descendants(self.process.pid), psutil.Process(self.process.pid)])
        self.process.wait()
        return None

    def phase(self) -> str:
        """Returns the phase: of a retraining, one of PHASES; of others, `start`, the command's name, or `end`."""
        holds = self._holds_lock()
        self._has_held |= holds
        if self.name != "retrain":
            return self.name if holds else END if self._has_held else START
        stages = [stage for each in descendants(self.process.pid) if (stage := stage_in(line_of(each)))]
        if stages:
            return stages[0]
        done = STEP.findall(self.output)
        if REGISTER in done:
            return GATE
        if STAGES[-1] in done:
            return REGISTER
        later = [stage for stage in STAGES if stage in done]
        return STAGES[STAGES.index(later[-1]) + 1] if later else SOURCE if holds else START

    def _holds_lock(self) -> bool:
        """Returns whether the command holds its lock, after its imports."""
        if self.name in {"release", "rollback"}:
            files = [state.ledger_file(self.root).with_suffix(".lock")]
        elif self.name == "predict":
            files = [*(self.root / ".state" / "predict").glob("*.lock")]
        else:
            files = [self.root / ".state" / "flow.lock"]
        return any(is_locked(file, self.process.pid) for file in files)

    def await_phase(self, fault: Fault, lengths: Mapping[str, float]) -> bool:
        """Waits for the time of a fault; False if the command is over before. A phase that has passed is no matter."""
        while not self.is_over() and not self._is_reached(fault.phase):
            time.sleep(POLL if self.name == "retrain" else QUICK_POLL)
        if fault.moment:
            return self._await(lambda: self._has_passed(fault.moment), QUICK_POLL, LIMIT)
        end = fault.fraction * lengths.get(fault.phase, 1.0)
        self._await(lambda: False, POLL, end)
        return not self.is_over()

    def _is_reached(self, phase: str) -> bool:
        now = self.phase()
        if phase in PHASES and now in PHASES:
            return PHASES.index(now) >= PHASES.index(phase)
        return now in {phase, END}

    def _await(self, condition: Callable[[], bool], pause: float, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while not self.is_over() and time.monotonic() < end:
            if condition():
                return True
            time.sleep(pause)
        return False

    def _has_passed(self, moment: Moment) -> bool:
        """Returns whether a moment has come since the start. A version that was just created is not proved yet."""
        mark = MARKS[moment](self.root)
        return mark is not None and mark != self._before[moment]

    def strike(self, fault: Fault, *, slow: bool = False) -> str | None:
        """Delivers a blow. Returns the phase that was hit, or None if there was no victim."""
        end = time.monotonic() + SEARCH
        while not (victim := victim_of(fault.victim, self.process.pid, self.root)):
            if self.is_over() or time.monotonic() > end:
                return None
            time.sleep(QUICK_POLL)
        if self.is_over():
            return None
        phase = str(fault.moment or self.phase())
        blow(victim.pid, fault, slow=slow)
        return phase


def _newest_tag(root: Path, name: str) -> tuple[int, str] | None:
    """Returns the newest version and its tag; None if it has no such tag."""
    versions = state.versions(state.mlflow_database(root))
    tag = versions[-1].tags.get(name) if versions else None
    return (versions[-1].number, tag) if tag is not None else None


MARKS: dict[Moment, Callable[[Path], object]] = {  # what changes at each moment
    Moment.VERSION: lambda root: len(state.versions(state.mlflow_database(root))),
    Moment.REMOVED: lambda root: len(state.versions(state.mlflow_database(root))),
    Moment.PROOF: lambda root: _newest_tag(root, "rootstock.proof"),
    Moment.VERDICT: lambda root: _newest_tag(root, "rootstock.verdict"),
    Moment.ALIAS: lambda root: state.aliases(state.mlflow_database(root)).get("challenger"),
    Moment.LIVE: lambda root: state.aliases(state.mlflow_database(root)).get("live"),
    Moment.CHAMPION: lambda root: state.aliases(state.mlflow_database(root)).get("champion"),
    Moment.LEDGER: lambda root: len(state.ledger(root)),
}


def blow(pid: int, fault: Fault, *, slow: bool = False) -> None:
    """Sends the signals; those of a terminal go to the whole group."""
    try:
        if fault.blow is Blow.STOP:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(60.0 if slow else fault.pause)
            os.kill(pid, signal.SIGCONT)
        elif fault.blow is Blow.INT:
            _to_group(pid, signal.SIGINT, fault.victim)
            time.sleep(fault.pause)
            _to_group(pid, signal.SIGINT, fault.victim)
        elif fault.blow is Blow.HUP:
            _to_group(pid, signal.SIGHUP, fault.victim)
        else:
            os.kill(pid, SIGNALS[fault.blow])
    except ProcessLookupError:
        pass


def _to_group(pid: int, number: signal.Signals, victim: Victim) -> None:
    if victim is Victim.FLOW:
        os.killpg(pid, number)
    else:
        os.kill(pid, number)


def is_locked(file: Path, pid: int) -> bool:
    """Returns whether this process holds the lock of a file, where the system tells; else whether any process does."""
    table = Path("/proc/locks")
    if not file.exists():
        return False
    if not table.exists():
        return is_held(file)
    number = file.stat().st_ino
    held = (line.split() for line in table.read_text().splitlines() if "->" not in line)
    return any(words[4] == str(pid) and words[5].endswith(f":{number}") for words in held)
