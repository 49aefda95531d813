"""The cost of orchestration: the flow's wall time minus stages and registration, and its memory."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tasks.core.files import read_json
from tasks.reports.page import markdown_table
from tests.benchmarks.results import Results, machine, spread
from tests.project import Project, environment

ROUNDS = 3


def run(results: Results) -> str:
    """Returns the benchmark's table."""
    rounds = [results.measured(f"round {number}", one) for number in range(ROUNDS)]
    names = list(rounds[0])
    rows = [[name, spread([measurements[name] for measurements in rounds])] for name in names]
    return f"{markdown_table(['', 'mean ± deviation'], rows)}\n\n{ROUNDS} rounds on the embedded default; {machine()}"


def one() -> dict[str, float]:
    """Measures a first run with new and with existing databases, then an up-to-date run without and with a server."""
    measurements: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        project = Project.fresh(Path(folder) / "project", None)
        for name, arguments in (("new databases", ()), ("existing databases", ("--seed", "1"))):
            forget_results(project)
            timed = retrained(project, *arguments)
            stage_seconds = sum(report["seconds"] for report in reports(project))
            measurements[f"first run, {name}: wall, s"] = timed["seconds"]
            measurements[f"first run, {name}: peak memory, GiB"] = timed["gib"]
            measurements[f"first run, {name}: stages' own, s"] = stage_seconds
            measurements[f"first run, {name}: registration, s"] = timed["registration"]
            measurements[f"first run, {name}: orchestration, s"] = (
                timed["seconds"] - stage_seconds - timed["registration"]
            )
        measurements["nothing to do, no server: wall, s"] = retrained(project)["seconds"]
        with serving(project):
            measurements["nothing to do, server up: wall, s"] = retrained(project)["seconds"]
    return measurements


@contextmanager
def serving(project: Project) -> Iterator[None]:
    """Keeps the servers and the worker up inside the block, which starts when they are idle."""
    project.flows("up")
    try:
        wait_until_quiet()
        yield
    finally:
        project.flows("down")


def wait_until_quiet() -> None:
    """Waits until CPU usage stays below 20% for five seconds: the servers and the worker have then started."""
    for _ in range(60):
        if psutil.cpu_percent(5.0) < 20:
            return


def forget_results(project: Project) -> None:
    """Deletes results so that every stage is computed again; keeps databases and artifacts."""
    for folder in (".state", ".dvc/cache/runs"):
        shutil.rmtree(project.root / folder, ignore_errors=True)
    (project.root / "dvc.lock").unlink(missing_ok=True)


def reports(project: Project) -> list[dict[str, float]]:
    return [read_json(file) for file in (project.root / ".state" / "reports").glob("*.json")]


def retrained(project: Project, *arguments: str) -> dict[str, float]:
    """Returns a run's seconds, its processes' peak memory in GiB, and the seconds from evaluate's end to register's."""
    command = [sys.executable, "-m", "flows", "retrain", *arguments]
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=project.root, env=environment(), stdout=-1, stderr=-2, text=True)
    peak = [0.0]

    def watch() -> None:
        while process.poll() is None:
            peak[0] = max(peak[0], family_gib(process.pid))
            time.sleep(1.0)  # each reading costs a fifth of a second

    threading.Thread(target=watch, daemon=True).start()
    evaluated = registered = 0.0
    for line in process.stdout or ():
        if line.startswith("evaluate "):
            evaluated = time.perf_counter()
        if line.startswith("register "):
            registered = time.perf_counter()
    assert process.wait() == 0
    return {"seconds": time.perf_counter() - started, "gib": peak[0], "registration": registered - evaluated}


def family_gib(pid: int) -> float:
    """Returns the proportional memory of a process and all its descendants, in GiB."""
    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    total = 0
    for member in family:
        try:
            total += member.memory_full_info().pss
        except psutil.Error:
            continue
    return total / 2**30
