"""What deployed nights cost on disk: with nothing changed, with 1% new images, and a hundred in a row with retention.

Nothing waits for the next day: after each of the hundred nights, the times in Prefect's database are set a day back.
"""

from __future__ import annotations

import re
import sqlite3
import tempfile
from contextlib import closing, contextmanager
from itertools import count, pairwise
from pathlib import Path

from tests.benchmarks.results import Results, machine
from tests.candidates import write_tiny_weights
from tests.drawn import SHAPES, drawn
from tests.project import Project, wait_until
from tests.whole_runs import SMALL, prepare

PLACES = {  # what each place holds, by patterns below the project
    "cache": ".dvc/cache/**/*",
    "remote": ".registry/dvc/**/*",
    "artifacts": ".registry/artifacts/**/*",
    "mlflow.db": ".registry/mlflow.db*",
    "prefect.db": ".registry/prefect/prefect.db*",
    "logs": ".state/logs/**/*",
    "rest of .registry": ".registry/**/*",
    "rest of .state": ".state/**/*",
}
NIGHTS, WEEK = 100, 7
RUNS = count(1)
EACH, NEW = 100, 1  # images of a class in train at first, and new ones each night
VACUUM = {"PREFECT_SERVER_SERVICES_DB_VACUUM_LOOP_SECONDS": "20"}  # an hour by default, which no night here takes


def run(results: Results) -> str:
    """Returns a table of bytes by place."""
    changed = results.measured("bytes of nights with 1% new images", with_new_images)
    flat = results.measured(f"bytes after each of {NIGHTS} nights", with_nothing_new)
    rows = [f"{'':18}  each of 3 nights with {len(SHAPES) * NEW} new images  night 1, 40, 70, {NIGHTS}, unchanged"]
    for place in PLACES:
        after = [changed["sizes"][night][place] for night in range(4)]
        growth = ", ".join(f"{later - before:+,}" for before, later in pairwise(after))
        rows.append(f"{place:18}  {growth:40}  {', '.join(f'{flat[night][place]:,}' for night in (0, 39, 69, -1))}")
    return "\n".join(
        [*rows, f"new images {changed['images']:,} bytes a night, model {changed['model']:,}; {machine()}"]
    )


def sizes(root: Path) -> dict[str, int]:
    """Returns the bytes in each place; a file counts in the first that holds it."""
    counted: set[Path] = set()
    bytes_of = {}
    for place, pattern in PLACES.items():
        files = {path for path in root.glob(pattern) if path.is_file() and not path.is_symlink()} - counted
        counted |= files
        bytes_of[place] = sum(path.stat().st_size for path in files)
    return bytes_of


@contextmanager
def served():
    """Yields a retrained project with its servers and worker up, whose deployments run only when started."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        weights = write_tiny_weights(Path(folder) / "tiny.pth")
        project = prepare(Path(folder) / "project", None, source, {**SMALL, "backbone.weights": weights})
        add_images(source, range(EACH))
        must(project.retrain())
        project.git("add", "--all")
        project.git("commit", "--quiet", "-m", "the first run")
        project.more = VACUUM
        must(project.flows("up"))
        try:
            lines = project.flows("env").stdout
            project.env = dict(re.findall(r"(PREFECT_\w+)='?([^'\s]+)", lines))
            project.env |= {"PREFECT_HOME": str(project.root / ".registry" / "prefect")}
            must(project.prefect("deployment", "schedule", "pause", "--all"))
            yield project, source
        finally:
            project.flows("down", "--now")


def must(done):
    assert done.returncode in {0, 3, 4}, done.stdout + done.stderr


def add_images(source: Path, numbers: range) -> int:
    """Draws images of each class in train. Returns their bytes."""
    files = [source / "train" / shape / f"more{number}.png" for shape in SHAPES for number in numbers]
    for file in files:
        drawn(file.parent.name, 10_000 + int(file.stem.removeprefix("more"))).save(file)
    return sum(file.stat().st_size for file in files)


def night(project: Project, deployment: str = "retrain/nightly") -> None:
    """Runs a deployment, and waits until the worker has finished it."""
    name = f"run {next(RUNS)}"
    must(project.prefect("deployment", "run", deployment, "--flow-run-name", name))
    wait_until(lambda: state(project, name) in {"COMPLETED", "FAILED", "CRASHED"}, 280)
    assert state(project, name) == "COMPLETED", name


def state(project: Project, name: str) -> str:
    database = project.root / ".registry" / "prefect" / "prefect.db"
    with closing(sqlite3.connect(database, timeout=60)) as connection:
        return connection.execute("SELECT state_type FROM flow_run WHERE name = ?", (name,)).fetchone()[0]


def with_new_images() -> dict[str, object]:
    """Returns the sizes before and after three nights with new images, and the bytes of the images and of a model."""
    with served() as (project, source):
        night(project)  # the first deployed one writes what every later one uses
        after, images = [sizes(project.root)], 0
        for number in range(3):
            images = add_images(source, range(EACH + NEW * number, EACH + NEW * (number + 1)))
            night(project)
            after.append(sizes(project.root))
        model = max(path.stat().st_size for path in project.root.glob(".registry/artifacts/**/*.safetensors"))
        return {"sizes": after, "images": images, "model": model}


def with_nothing_new() -> list[dict[str, int]]:
    """Returns the sizes after each night; every seventh, the weekly prune runs."""
    after = []
    with served() as (project, _):
        for number in range(NIGHTS):
            night(project)
            if number % WEEK == WEEK - 1:
                night(project, "prune/weekly")
            set_back(project.root)
            after.append(sizes(project.root))
            print(f"      night {number + 1}: {after[-1]}", flush=True)
    return after


def set_back(root: Path) -> None:
    """Makes everything that Prefect's database holds a day older, and the note of the weekly prune."""
    with closing(sqlite3.connect(root / ".registry" / "prefect" / "prefect.db", timeout=60)) as connection, connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info('{table}')") if row[2] == "DATETIME"]
            for column in columns:
                older = f"strftime('%Y-%m-%d %H:%M:%f', {column}, '-1 day') || '000'"
                connection.execute(f"UPDATE {table} SET {column} = {older} WHERE {column} IS NOT NULL")  # noqa: S608
    note = root / ".state" / "prune.json"
    if note.exists():
        note.write_text(
            re.sub(r'("at": *)([\d.]+)', lambda match: f"{match[1]}{float(match[2]) - 86400}", note.read_text())
        )
