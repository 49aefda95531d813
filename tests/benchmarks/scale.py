"""Whole retrainings of up to 100,000 pictures from S3 with two Dask workers: a first one, unchanged, and with 1% more.

Pictures are 32 pixels wide and drawn; the network is the embedded one, fine-tuned for one epoch. S3 server, scheduler,
workers and the run share this machine.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from distributed import Client

from flows.config.overrides import apply
from tests.benchmarks.process_costs import watched
from tests.benchmarks.results import Results, machine
from tests.dask_cluster import dask_cluster
from tests.drawn import SHAPES, SIDE, drawn, encoded
from tests.object_server import Bucket, object_server
from tests.project import Project, environment

SIZES = (1_000, 10_000, 100_000)
GROWING = (
    *("dask worker", "flows retrain", "dvc repro"),
    *("ingest", "validate", "augment", "features", "head", "finetune", "evaluate"),
)
WORKERS, SHARE = 2, 0.01  # of pictures that are new in the last run
SETTINGS = {
    "backbone.architecture": "resnet10",
    "backbone.weights": "data/backbone/resnet10-glyphs.safetensors",
    "backbone.resize": SIDE,
    "backbone.crop": SIDE,
    "features.views": 0,
    "features.compile": 0,
    "finetune.recipe": "fixed",
    "finetune.epochs": 1,
    "finetune.batch": 128,
    "scratch.run": False,
}
RunCosts = dict[str, Any]


def run(results: Results) -> str:
    """Returns CPU-seconds and peak memory by process, seconds and bytes on disk by run, and the exponents of stages."""
    measured = {size: results.measured(f"{size} pictures", partial(of_size, size)) for size in SIZES}
    tables = [
        table(f"{size:,} pictures, {name}", costs) for size, runs in measured.items() for name, costs in runs.items()
    ]
    firsts = [measured[size]["first"]["seconds"] for size in SIZES]
    powers = [f"  {stage:15}{', '.join(exponents([seconds.get(stage, 0) for seconds in firsts]))}" for stage in GROWING]
    return "\n".join([*tables, "CPU-seconds grow with pictures to the power of", *powers, machine()])


def table(title: str, costs: RunCosts) -> str:
    """Returns a run's seconds, bytes on disk, and its processes with their CPU-seconds and peaks of memory."""
    disk = ", ".join(f"{place} {count / 1e6:,.0f} MB" for place, count in costs["bytes"].items())
    rows = [f"\n{title}: {costs['wall']:,.0f} s, {costs['version']}; {disk}"]
    for process, seconds in sorted(costs["seconds"].items(), key=lambda item: -item[1]):
        rows.append(f"  {process:32}{seconds:10.1f} CPU-s{costs['peaks'].get(process, 0.0):10.0f} MiB")
    return "\n".join(rows)


def exponents(seconds: Sequence[float]) -> list[str]:
    """Returns the exponents between neighboring sizes."""
    steps = zip(pairwise(seconds), pairwise(SIZES), strict=True)
    return [f"{np.log(b / a) / np.log(large / small):.2f}" if a * b else "-" for (a, b), (small, large) in steps]


def of_size(pictures: int) -> dict[str, RunCosts]:
    """Returns the costs of each run, by name."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "objects").mkdir()
        with object_server(folder / "objects") as server, dask_cluster(folder / "cluster", workers=0) as cluster:
            bucket = server.bucket()
            upload(bucket, range(pictures))
            project = prepare(folder / "project", {**SETTINGS, "data.source": f"s3://{bucket.name}/set"})
            for _worker in range(WORKERS):
                cluster.add_worker(project.root)
            with Client(cluster.address) as client:
                client.wait_for_workers(WORKERS)
                client.run(import_module, "tasks.embedding.worker")  # what importing costs is no cost of images
            project.more = {**server.variables(), **cluster.environment}
            costs = {"first": retrained(project), "unchanged": retrained(project)}
            upload(bucket, range(pictures, pictures + round(pictures * SHARE)))
            return {**costs, f"{SHARE:.0%} more": retrained(project)}


def prepare(root: Path, values: Mapping[str, object]) -> Project:
    """Creates a project with these parameters."""
    project = Project.fresh(root, None)
    apply([part for key, value in values.items() for part in (f"--{key}", str(value))], root / "params.yaml")
    project.commit()
    return project


def upload(bucket: Bucket, numbers: range) -> None:
    """Draws pictures into the bucket, of each shape in turn."""

    def put(number: int) -> None:
        shape = SHAPES[number % len(SHAPES)]
        bucket.put(f"set/{shape}/{number:07}.jpg", encoded(drawn(shape, number), "JPEG", quality=90))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, numbers))


def retrained(project: Project) -> RunCosts:
    """Retrains. Returns CPU-seconds and peak memory by process, seconds of the clock, and bytes on disk by folder."""
    command = [sys.executable, "-m", "flows", "retrain"]
    started = time.perf_counter()
    with watched() as costs:
        done = subprocess.run(
            command, cwd=project.root, env=environment(**project.more), capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stdout + done.stderr
    version = re.search(r"version \d+", done.stdout)
    result = {
        "wall": time.perf_counter() - started,
        "version": version[0] if version else "no version",
        "seconds": costs.seconds,
        "peaks": costs.peaks,
        "bytes": {place: size_of(project.root / place) for place in ("data", ".dvc", ".state", ".registry")},
    }
    print(f"      {result}", flush=True)
    return result


def size_of(folder: Path) -> int:
    """Returns the bytes on disk of files in a folder; what is linked more than once counts once."""
    stats = (path.lstat() for path in folder.rglob("*") if not path.is_dir())
    return sum({stat.st_ino: stat.st_blocks * 512 for stat in stats}.values())
