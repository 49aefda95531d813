"""Workers and schedulers that are killed while pictures are embedded on a Dask cluster.

Each round ingests and embeds all pictures from nothing; its manifest and features are compared with those of a round
without a cluster. A scheduler that is killed ends the stage, which then goes on with a new one.
"""

from __future__ import annotations

import hashlib
import random
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path

from tasks.core.errors import RootstockError
from tests.benchmarks.results import Results, machine
from tests.benchmarks.study import Study
from tests.dask_cluster import DaskCluster, dask_cluster, kill
from tests.drawn import SHAPES, write_shapes
from tests.project import ROOT

PICTURES, SIDE, WORKERS = 3_000, 64, 2
KILLS = {"worker": 20, "scheduler": 3}
ENDS, ATTEMPTS = ("scheduler-gone", "no-scheduler", "no-workers", "process-ended"), 20
SECONDS = (8.0, 20.0)  # between two kills; a new worker needs some 10 to import the code
WEIGHTS = ROOT / "data" / "backbone" / "resnet10-glyphs.safetensors"
SETTINGS = {"backbone.resize": SIDE, "backbone.crop": SIDE, "compute.batch": 16, "features.views": 1}


def run(results: Results) -> str:
    """Returns how many kills and rounds there were, and how many rounds had other results."""
    lines = []
    for victim, kills in KILLS.items():
        done = results.measured(f"{kills} kills of a {victim}", partial(series, victim, kills))
        lines.append(f"{done['kills']} kills of a {victim} in {done['rounds']} rounds: {done['different']} differ")
    return "\n".join([*lines, machine()])


def series(victim: str, kills: int) -> dict[str, int]:
    """Repeats rounds until there were enough kills. Returns the numbers of kills, rounds and different results."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_shapes(folder / "raw", {"": PICTURES // len(SHAPES)}, SIDE)
        expected = one_round(folder)
        done = rounds = different = 0
        with dask_cluster(folder / "cluster", WORKERS) as running:
            while done < kills:
                killed: list[float] = []
                different += one_round(folder, partial(killing, running, victim, kills - done, killed)) != expected
                done, rounds = done + len(killed), rounds + 1
        return {"kills": done, "rounds": rounds, "different": different}


def one_round(folder: Path, disturbed: Callable[[], AbstractContextManager[None]] = nullcontext) -> str:
    """Ingests and embeds the pictures from nothing, going on when a stage ends. Returns the digest of the results."""
    shutil.rmtree(folder / "study", ignore_errors=True)
    study = Study(folder / "study", folder / "raw", WEIGHTS, SETTINGS)
    study.run("ingest", "augment")
    with disturbed():
        until_done(partial(study.run, "features"))
    files = sorted(path for path in (study.paths.ingest, study.paths.features) for path in path.rglob("*.*"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files if file.suffix != ".json")).hexdigest()


def until_done(work: Callable[[], object]) -> None:
    """Does the work again whenever the scheduler goes away, or its workers die."""
    for attempt in range(ATTEMPTS):
        try:
            work()
        except RootstockError as error:
            if error.key not in ENDS or attempt == ATTEMPTS - 1:
                raise
        else:
            return


@contextmanager
def killing(running: DaskCluster, victim: str, most: int, killed: list[float]) -> Iterator[None]:
    """Kills and replaces a victim now and then, until there are `most` in `killed`, the pauses before each of them."""
    done = threading.Event()

    def kill_some() -> None:
        while len(killed) < most and not done.wait(pause := random.uniform(*SECONDS)):
            kill_and_replace(running, victim)
            killed.append(pause)

    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(kill_some)
        try:
            yield
        finally:
            done.set()
            work.result()


def kill_and_replace(running: DaskCluster, victim: str) -> None:
    """Kills a worker, or the scheduler, whose workers end with it, and starts what takes its place."""
    if victim == "worker":
        kill(running.workers.pop(0))
        running.add_worker()
        return
    port = int(running.address.rpartition(":")[2])
    kill(running.scheduler)
    for worker in running.workers:
        kill(worker)
    running.workers.clear()
    running.scheduler = running.start_scheduler(port)
    for _worker in range(WORKERS):
        running.add_worker()
