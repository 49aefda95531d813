"""Peak memory of stages by the number of images, beyond their imports and without pages that are mapped from files.

The manifest and the features (512 numbers an image, no views, a cloud for each of ten classes) are made up; the stages
are the project's own, each in a process of its own. A million images take 5 GB of disk.
"""

from __future__ import annotations

import gc
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from tasks.core.paths import Paths
from tasks.core.schema import Column
from tasks.core.sections import AugmentPolicy
from tasks.core.target import TargetSpec
from tasks.data import decoding
from tasks.data.ingestion import COLUMNS
from tasks.embedding.extraction import Extraction, Features, ViewBatch
from tasks.features import FeaturesParams, features
from tasks.hardware.heap import reuse_freed_memory
from tasks.head import HeadParams, head
from tasks.runner.stages import import_dependencies
from tasks.validate import ValidateParams, validate
from tests.benchmarks.peak_memory import MIB, peak_memory
from tests.benchmarks.results import Results, machine
from tests.conftest import CPU
from tests.project import ROOT
from tests.stages.contract import AUGMENT, BACKBONE, HEAD

SIZES = (10_000, 100_000, 1_000_000)
WORK = ("validate", "features, all new", "features, all stored", "head")
CLASSES, WIDTH = 10, 512
MODEL = {**BACKBONE, "architecture": "resnet10", "resize": 64, "crop": 64}
PENALTIES = [1e-4, 1e-3, 0.01, 0.1, 1.0, 10.0]


def run(results: Results) -> str:
    """Returns a table of MiB and microseconds of processor time by work and number of images."""
    rows = [f"{'':22}" + "".join(f"{f'{size:,} images':>28}" for size in SIZES)]
    measured = {size: results.measured(f"{size} images", lambda size=size: of_size(size)) for size in SIZES}
    for work in WORK:
        cells = [measured[size][work] for size in SIZES]
        rows.append(
            f"{work:22}" + "".join(f"{f'{mib:.0f} MiB, {micros:.0f} µs an image':>28}" for mib, micros in cells)
        )
    return "\n".join([*rows, machine()])


def of_size(images: int) -> dict[str, tuple[float, float]]:
    """Returns the peak memory in MiB and the microseconds an image of each work."""
    with tempfile.TemporaryDirectory() as folder:
        paths = paths_in(Path(folder))
        make_up(paths, images)
        command = [sys.executable, "-m", "tests.benchmarks.memory", folder]
        answers = {}
        for work in WORK:
            done = subprocess.run([*command, work], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
            peak, seconds = json.loads(done.stdout.splitlines()[-1])
            answers[work] = (peak / MIB, seconds / images * 1e6)
        return answers


def paths_in(root: Path) -> Paths:
    """Returns paths below `root`."""
    names = (field.alias or name for name, field in Paths.model_fields.items())
    return Paths(**{name: root / name for name in names})


def make_up(paths: Paths, images: int) -> None:
    """Writes what ingest, choose and augment would have written."""
    random = np.random.default_rng(0)
    label_N = random.integers(0, CLASSES, images)
    facts = {
        Column.PATH: [f"{label}/{number:08}.png" for number, label in enumerate(label_N)],
        Column.SHA256: [hashlib.sha256(str(number).encode()).hexdigest() for number in range(images)],
        Column.LABEL: label_N.astype(str),
        Column.SPLIT: random.choice(["train", "validation", "test"], images, p=[0.8, 0.1, 0.1]),
        Column.WEIGHT: 1.0,
        Column.WIDTH: 64,
        Column.HEIGHT: 64,
        Column.MODE: "RGB",
    }
    hashes = dict.fromkeys((Column.PIXEL_HASH, Column.GROUP), facts[Column.SHA256])
    manifest = pd.DataFrame({**facts, **hashes}).reindex(columns=list(COLUMNS))
    paths.ingest.mkdir(parents=True)
    manifest.astype(COLUMNS).to_parquet(paths.manifest, index=False, row_group_size=2**14)
    paths.split_record.write_text('{"ours": true, "near_duplicates": [], "unsearched": 0}')
    TargetSpec(classes=tuple(map(str, range(CLASSES)))).save(paths.task)
    decoding.save(paths.decoding, decoding.resolve(10**8, "white", None))
    paths.choose.mkdir()
    shutil.copy(ROOT / "data" / "backbone" / "resnet10-glyphs.safetensors", paths.pretrained)
    AugmentPolicy(seed=0, **AUGMENT).write(paths.policy)


def made_up(_extraction: Extraction, shard: Sequence[ViewBatch]) -> Features:
    """Returns features that are made up, in place of those of a network, which would take hours."""
    random = torch.Generator().manual_seed(0)
    center_CD = 0.3 * torch.randn(CLASSES, WIDTH, generator=random)
    random.manual_seed(int(shard[0].key_N2[0, 0] >> np.uint64(1)))
    labels = [int(file.partition("/")[0]) for view in shard for file in view.files]
    x_ND = torch.relu(center_CD[labels] + torch.randn(len(labels), WIDTH, generator=random))
    return Features(x_ND, np.concatenate([view.key_N2 for view in shard]))


def measured(paths: Paths, work: str) -> tuple[int, float]:
    """Does the work. Returns the bytes that it takes beyond what the process took before, and its seconds."""
    reuse_freed_memory()
    Extraction.__call__ = made_up
    for stage in ("validate", "features", "head"):
        import_dependencies(import_module(f"tasks.{stage}"))
    gc.collect()
    started = time.process_time()
    with peak_memory() as peak:
        do(paths, work)
    return peak.bytes, time.process_time() - started


def do(paths: Paths, work: str) -> None:
    """Runs the stage."""
    if work == "validate":
        validate(paths, ValidateParams(validate={"min_side": 8, "max_unreadable": 0.0}))
    elif work == "head":
        section = {**HEAD, "strengths": PENALTIES}
        head(paths, HeadParams(**{"compute.device": "cpu"}, seed=0, balance="none", head=section))
    else:
        section = {"views": 0, "store": 1000.0, "compile": 0}
        features(paths, FeaturesParams(backbone=MODEL, compute=CPU, features=section))


if __name__ == "__main__":
    print(json.dumps(measured(paths_in(Path(sys.argv[1])), sys.argv[2])))
