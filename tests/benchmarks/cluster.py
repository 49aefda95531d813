"""One Dask worker of one thread against two: extraction and reading of image facts, in paired rounds.

Client, scheduler and workers share the cores of this machine. Pictures are drawn; the network is the embedded one.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from tasks.core.files import sha256_of
from tasks.core.sections import BackboneParams
from tasks.data.file_facts import facts_of_files
from tasks.embedding.extraction import Extraction, view_batches
from tasks.embedding.feature_store import FeatureStore
from tasks.embedding.key_index import keys_of
from tasks.embedding.pretrained import PretrainedFile
from tasks.embedding.spreading import embed_to_store
from tasks.hardware.device import choose
from tasks.images.transforms import CLEAN, RenderStyle
from tasks.scorer.decode import DEFAULT
from tests.benchmarks.results import Results, machine, mean_interval
from tests.dask_cluster import dask_cluster
from tests.drawn import drawn
from tests.project import ROOT
from tests.stages.contract import BACKBONE

IMAGES, ROUNDS, SIDE, BATCH = 5000, 5, 192, 32
WORKERS = (1, 2)
WORK = ("extraction", "facts")
WEIGHTS = ROOT / "data" / "backbone" / "resnet10-glyphs.safetensors"
PARAMS = BackboneParams(**{**BACKBONE, "architecture": "resnet10", "resize": 128, "crop": 128})


def run(results: Results) -> str:
    """Returns the seconds of each work by the number of workers, and their ratio with its 95% interval."""
    rounds = [results.measured(f"round {number}", lambda: one_round(number)) for number in range(ROUNDS)]
    rows = []
    for work in WORK:
        one, two = ([seconds[f"{work} {workers}"] for seconds in rounds] for workers in WORKERS)
        ratio, half = mean_interval([a / b for a, b in zip(one, two, strict=True)])
        rows.append(f"{work:12}{np.mean(one):8.1f} s{np.mean(two):8.1f} s   {ratio:.2f} ± {half:.2f} times as fast")
    return "\n".join([f"{IMAGES:,} images, one worker and two", *rows, machine()])


def one_round(number: int) -> dict[str, float]:
    """Returns the seconds of each work with one worker and with two, which begin in turn."""
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        raw = draw(Path(folder) / "raw")
        for workers in WORKERS if number % 2 else WORKERS[::-1]:
            with dask_cluster(Path(folder) / f"cluster-{workers}", workers):
                list(facts_of_files(raw, files(raw)[:256], {}))
                extract(raw, Path(folder) / f"warm-{workers}", files(raw)[: 2 * BATCH])
                started = time.perf_counter()
                list(facts_of_files(raw, files(raw), {}))
                seconds[f"facts {workers}"] = time.perf_counter() - started
                started = time.perf_counter()
                extract(raw, Path(folder) / f"store-{workers}", files(raw))
                seconds[f"extraction {workers}"] = time.perf_counter() - started
    return seconds


def draw(raw: Path) -> Path:
    """Draws the pictures into `raw`."""
    raw.mkdir()
    for number in range(IMAGES):
        drawn(("bar", "disc", "ring")[number % 3], number, SIDE).save(raw / f"{number:05}.jpg")
    return raw


def files(raw: Path) -> list[str]:
    """Returns the names of the pictures."""
    return sorted(path.name for path in raw.iterdir())


def extract(raw: Path, store: Path, names: list[str]) -> None:
    """Embeds pictures into a new store, on the cluster."""
    load = PretrainedFile(WEIGHTS, PARAMS, DEFAULT, sha256_of(WEIGHTS))
    work = Extraction(load(), choose("cpu", "float32"), RenderStyle(), BATCH, raw)
    draw_NP = np.tile(CLEAN, (len(names), 1))
    views = view_batches(zip(names, draw_NP, keys_of(names, draw_NP), strict=True), BATCH)
    embed_to_store(work, load, FeatureStore(store, {}), views, -(-len(names) // BATCH), 1)
