"""The folder of a soak: base projects that cycles copy, and what undisturbed commands make of them."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.candidates import write_tiny_weights
from tests.drawn import drawn, write_shapes
from tests.project import ROOT, Project
from tests.soak import state
from tests.soak.attempt import POLL, Attempt
from tests.soak.scenarios import OK, Scenario, request_challenger, scenarios
from tests.whole_runs import SMALL, prepare

DAYS_MS = 100 * 24 * 3600 * 1000
PICTURES = 1500  # in the folder that is predicted: three parts
MARGIN = {"gate.margin": 0.9, "gate.group_margin": 1.0}  # few test images decide


def code() -> str:
    """Returns a digest of the code that cycles run."""
    folders = ("tasks", "flows")
    files = [ROOT / "params.yaml", ROOT / "dvc.yaml"]
    files += [file for folder in folders for file in sorted((ROOT / folder).rglob("*.py"))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


class Workshop:
    """Base projects and references, built when they are first asked for and kept for the next start of the soak."""

    def __init__(
        self,
        folder: Path,
        api: str | None,
        say: Callable[[str], object] = print,
        bases: Mapping[str, Project] | None = None,
    ) -> None:
        self.folder, self.api, self._say, self._bases = folder, api, say, bases or {}
        self.scenarios = scenarios(folder)
        folder.mkdir(parents=True, exist_ok=True)

    def base(self, name: str) -> Project:
        """Returns a base project, which is never changed."""
        if name in self._bases:
            return self._bases[name]
        root = self.folder / name
        if not (self.folder / f"{name}.done").exists():
            shutil.rmtree(root, ignore_errors=True)
            self._say(f"building the base {name}")
            {"prepared": self._prepare, "seasoned": self._season}[name](root)
            (self.folder / f"{name}.done").touch()
        return Project(root, self.api)

    def _prepare(self, root: Path) -> None:
        for name in ("source", "source2", "pictures"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        weights = write_tiny_weights(self.folder / "tiny.pth")
        prepare(root, self.api, self.folder / "source", {**SMALL, **MARGIN, "backbone.weights": weights})
        write_shapes(self.folder / "source2", {"val": 3, "train": 7, "test": 4})
        _pad(self.folder / "source2" / "test" / "bar" / "0.png")
        self._write_pictures()

    def _write_pictures(self) -> None:
        folder = self.folder / "pictures"
        folder.mkdir()
        for number in range(PICTURES):
            drawn(("bar", "disc", "ring")[number % 3], number).save(folder / f"{number:04}.png")

    def _season(self, root: Path) -> None:
        """Makes four versions: the second is live after the first, the last is the challenger, the third can go."""
        project = self.base("prepared").copy(root)
        for bins in (None, "9", "10", "11"):
            _must(project, "retrain", *(("--evaluate.bins", bins) if bins else ()))
            if bins in {None, "9"}:
                request_challenger(project)
                _must(project, "release")
        _age(state.mlflow_database(root), ("3",))

    def reference(self, name: str) -> dict[str, Any]:
        """Returns the facts after the undisturbed scenario, the lengths of its phases, and dvc.lock by stage."""
        file = self.folder / "references" / f"{name}.json"
        if not file.exists():
            self._say(f"running {name} undisturbed")
            file.parent.mkdir(exist_ok=True)
            file.write_text(json.dumps(self._undisturbed(name, self.scenarios[name])))
        return dict(json.loads(file.read_text()))

    def _undisturbed(self, name: str, scenario: Scenario) -> dict[str, Any]:
        root = self.folder / "undisturbed" / name.replace(" ", "-")
        shutil.rmtree(root, ignore_errors=True)
        project = self.base(scenario.base).copy(root)
        scenario.prepare(project)
        attempt = Attempt(project, scenario.arguments, root.with_suffix(".log"))
        lengths = measured(attempt)
        assert attempt.wait() in scenario.exits, attempt.output
        facts = scenario.facts(root)
        lock = state.locked_stages(root)
        shutil.rmtree(root)
        return {"facts": facts, "lengths": lengths, "lock": lock}


def measured(attempt: Attempt) -> dict[str, float]:
    """Follows an undisturbed command. Returns the length of each phase in seconds."""
    lengths: dict[str, float] = {}
    last = time.monotonic()
    while not attempt.is_over():
        phase = attempt.phase()
        time.sleep(POLL)
        now = time.monotonic()
        lengths[phase] = lengths.get(phase, 0.0) + now - last
        last = now
    return lengths


def _must(project: Project, *arguments: str) -> None:
    done = project.flows(*arguments)
    assert done.returncode in OK, done.stdout + done.stderr


def _pad(file: Path, mebibytes: int = 48) -> None:
    """Makes a picture's file long, so that its copy takes a while; decoders stop at the picture's end."""
    with file.open("ab") as opened:
        for _ in range(mebibytes):
            opened.write(bytes(2**20))


def _age(database: Path, numbers: tuple[str, ...]) -> None:
    """Makes versions and their runs older than retention.keep_days."""
    marks = ", ".join("?" * len(numbers))
    with closing(sqlite3.connect(database)) as connection, connection:
        of = f"SELECT run_id FROM model_versions WHERE version IN ({marks})"  # noqa: S608
        runs = f"UPDATE runs SET start_time = start_time - ?, end_time = end_time - ? WHERE run_uuid IN ({of})"  # noqa: S608
        connection.execute(runs, (DAYS_MS, DAYS_MS, *numbers))
        versions = f"UPDATE model_versions SET creation_time = creation_time - ? WHERE version IN ({marks})"  # noqa: S608
        connection.execute(versions, (DAYS_MS, *numbers))
