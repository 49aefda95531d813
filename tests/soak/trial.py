"""A cycle's own project: its starts of the command, what they must keep to, and what was broken."""

from __future__ import annotations

import shutil
from pathlib import Path

from tasks.core.files import read_json
from tests import session
from tests.project import Project
from tests.soak import mounts, state
from tests.soak.attempt import LIMIT, Attempt
from tests.soak.draw import Cycle
from tests.soak.invariants import Invariant, Problem, last_lines
from tests.soak.processes import end_all, left_below
from tests.soak.scenarios import REFERENCES, variant_of
from tests.soak.workshop import Workshop

TRACEBACK = "Traceback (most recent call last)"
WORDS = ("error: ", "interrupted: ", "usage: ")
FOREIGN = "a person's own file\n"
SOURCES = ("source", "source2", "pictures")
BY_SIGNAL = {-9, -15, -2, -1, 137, 143, 130, 129}  # exit codes of a command that a signal has ended


class Trial:
    """The project of one cycle. `hits` are the blows that met their victim: victim, blow, phase."""

    def __init__(self, workshop: Workshop, cycle: Cycle, *, slow: bool = False) -> None:
        self.workshop, self.cycle, self.slow = workshop, cycle, slow
        name = variant_of(cycle.scenario, cycle.variant)
        self.scenario, self.reference = workshop.scenarios[name], workshop.reference(REFERENCES.get(name, name))
        self.arguments = self.scenario.arguments
        if cycle.retries and cycle.scenario in workshop.scenarios and self.arguments[0] == "retrain":
            self.arguments = (*self.arguments, "--run.retries", str(cycle.retries))
        self.folder = workshop.folder / "cycles" / str(cycle.number)
        self.root = self.folder / "project"
        self.problems: list[Problem] = []
        self.hits: list[tuple[str, str, str]] = []
        self.missed = 0
        self.left_out = self.note = ""
        self.damaged: set[str] = set()  # stages that may be computed again
        self.flow_runs: set[str] = set()  # of this project, by ID
        self._starts = 0
        self._finished: dict[str, str] = {}
        clear(self.folder)
        self.project = self._copy()
        self.ledger, self.ledger_is_kept = state.ledger(self.root), True
        self.foreign = self.foreign_now()
        self.open_before = set(state.open_flow_runs(self.prefect_database()))

    def _copy(self) -> Project:
        base = self.workshop.base(self.scenario.base)
        self.folder.mkdir(parents=True)
        project = base.copy(self.root)
        (self.root / "mine.txt").write_text(FOREIGN)
        if self.cycle.servers != "shared":
            project.more = {}
        return project

    def foreign_now(self) -> dict[str, str]:
        """Returns the digests of everything that belongs to the person."""
        folder = self.workshop.folder
        digests = {f"{name}/{file}": of for name in SOURCES for file, of in state.digests(folder / name).items()}
        head = self.project.git("rev-parse", "HEAD").strip()
        return {**digests, "mine.txt": (self.root / "mine.txt").read_text(), "HEAD": head}

    def prefect_database(self) -> Path:
        if self.project.more:
            return session.FOLDER / "prefect_server" / "prefect.db"
        return self.root / ".registry" / "prefect" / "prefect.db"

    def start(self, *arguments: str, project: Project | None = None, **more: str) -> Attempt:
        """Starts the scenario's command, or another one."""
        self._starts += 1
        log = self.folder / f"{self._starts}.log"
        return Attempt(project or self.project, arguments or self.arguments, log, **more)

    def end(self, attempt: Attempt, *, is_disturbed: bool = True, seconds: float = LIMIT) -> int | None:
        """Waits for a command and checks what it said and computed. Returns its exit code."""
        code = attempt.wait(seconds)
        if note := state.flow_run(self.root):
            self.flow_runs.add(note)
        where = f"start {attempt.log.stem}, {' '.join(map(str, attempt.process.args[3:5]))}"
        if code is None:
            self.breaks(Invariant.FINISHES, f"{where} hung")
        if TRACEBACK in attempt.output:
            self.breaks(Invariant.WORDS, f"{where}: traceback: {last_lines(attempt.output, 2)}")
        elif code not in {0, 3, 4, None, *BY_SIGNAL} and not any(word in attempt.output for word in WORDS):
            self.breaks(Invariant.WORDS, f"{where} ended with code {code} without a word: {last_lines(attempt.output)}")
        if not is_disturbed and code is not None and code not in self.scenario.exits:
            self.breaks(Invariant.FINISHES, f"{where} ended with code {code}: {last_lines(attempt.output)}")
        self._check_recomputed(attempt)
        return code

    def run(self, *arguments: str, is_disturbed: bool = False, **more: str) -> tuple[int | None, str]:
        """Runs a command to its end. Returns its exit code and output."""
        attempt = self.start(*arguments, **more)
        return self.end(attempt, is_disturbed=is_disturbed), attempt.output

    def finish(self, **more: str) -> None:
        """Starts the command once more, undisturbed; if it does not finish, says whether it does the next time."""
        code, _ = self.run(**more)
        if code is not None and not self.is_done(code):
            code, _ = self.run(is_disturbed=True, **more)
            again = "finishes" if self.is_done(code) else "does not finish either"
            self.breaks(Invariant.FINISHES, f"the start after that {again}")

    def meet(self, attempt: Attempt, *words: str) -> int | None:
        """Waits for a command that has met a condition: it goes on, or tells it in one of these words."""
        code = self.end(attempt)
        self.note = "went on" if self.is_done(code) else "told: " + last_lines(attempt.output, 2)
        if code is not None and not self.is_done(code) and words and not any(word in attempt.output for word in words):
            self.breaks(Invariant.WORDS, f"{self.cycle.condition} is not named: {last_lines(attempt.output)}")
        return code

    def is_done(self, code: int | None) -> bool:
        return code in self.scenario.exits

    def breaks(self, invariant: Invariant, text: str) -> None:
        self.problems.append(Problem(invariant, text))

    def _check_recomputed(self, attempt: Attempt) -> None:
        """Compares the reports of stages whose results were as undisturbed before with those now."""
        for stage, text in state.locked_stages(self.root).items():
            if self.reference["lock"].get(stage) != text:
                continue
            file = self.root / ".state" / "reports" / f"{stage}.json"
            report = f"{read_json(file)['run']} {file.stat().st_mtime_ns}" if file.exists() else "none"
            before = self._finished.setdefault(stage, report)
            if before != report and stage not in self.damaged:
                self.breaks(Invariant.RECOMPUTED, f"{stage} was computed again by start {attempt.log.stem}")
            self._finished[stage] = report

    def close(self, *, keep: bool) -> None:
        """Ends what is left of the cycle and removes its project; the logs stay if something broke."""
        if keep:
            end_all(left_below(self.folder))
            mounts.unmount_below(self.folder)
        else:
            clear(self.folder)


def clear(folder: Path) -> None:
    """Removes a cycle's folder, with the processes and mounts that an interrupted soak has left in it."""
    end_all(left_below(folder))
    mounts.unmount_below(folder)
    shutil.rmtree(folder, ignore_errors=True)
