"""The time from setting the alias to a live model, by the watcher: requests at random moments."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from pathlib import Path

from tests.benchmarks.results import Results, machine
from tests.project import Project, run_python

WISHES = 20
JUDGE = """
import sys
from flows.local.environment import set_defaults
set_defaults()
from flows.registry.ledger import Ledger
from flows.registry.ledger_lines import Event
from flows.registry.ledger_owner import ledger_path
from flows.registry.records import Statement, state
from flows.registry.versions import resolve
live = Ledger(ledger_path("rootstock")).live
state(resolve("rootstock", sys.argv[1]), Statement(Event.JUDGED, "pass", "", live, proved=True))
"""


def run(results: Results) -> str:
    """Returns the median and the worst delay."""
    waits = results.measured("seconds from alias to live", measured)
    return f"median {statistics.median(waits):.0f} s, worst of {WISHES} {max(waits):.0f} s; {machine()}"


def measured() -> list[float]:
    random.seed(0)
    with tempfile.TemporaryDirectory() as folder:
        project = Project.fresh(Path(folder) / "project", None)
        assert project.retrain("--finetune.epochs", "1", "--scratch.run", "false").returncode == 0
        client = project.mlflow()
        first = client.get_model_version("rootstock", "1")
        source = client.get_logged_model(first.source.removeprefix("models:/")).artifact_location
        client.create_model_version("rootstock", source, run_id=first.run_id, tags=first.tags)
        assert project.flows("up").returncode == 0
        try:
            return [wait(client, project, str(1 + number % 2)) for number in range(WISHES)]
        finally:
            project.flows("down")


def wait(client, project: Project, version: str) -> float:
    """Returns the seconds until a promotion request is granted; the version is judged to allow it."""
    judged = run_python(project.root, "-c", JUDGE, version, **project.env)
    assert judged.returncode == 0, judged.stderr
    time.sleep(random.uniform(0, 10))  # more than the watcher's period
    started = time.monotonic()
    client.set_registered_model_alias("rootstock", "champion", version)
    while str(client.get_registered_model("rootstock").aliases.get("live")) != version:
        time.sleep(0.2)
    return time.monotonic() - started
