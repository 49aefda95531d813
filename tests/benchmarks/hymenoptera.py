"""Ants and bees with ImageNet's MobileNetV2, 5 seeds: probe and LP-FT, and the wall time of the whole flow.

The data set's own val is the test split; a fifth of train is used for validation. A seed draws that fifth, the
views and the order.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.core.schema import Candidate, Column, Split
from tasks.reports.page import markdown_table
from tests.benchmarks.orchestration import serving
from tests.benchmarks.results import Results, assets_folder, machine, mean_interval, spread
from tests.benchmarks.study import NETWORKS, Study
from tests.project import Project

SEEDS = 5
CHANGES = {
    "backbone.architecture": "mobilenet_v2",
    "augment.flip": True,
    "augment.fill": "mirror",
    "finetune.recipe": "fixed",
}


def run(results: Results) -> str:
    """Returns the benchmark's table."""
    assets = assets_folder()
    with tempfile.TemporaryDirectory() as folder:
        seeds = [results.measured(f"seed {seed}", lambda: one(Path(folder), assets, seed)) for seed in range(SEEDS)]
    table = pd.DataFrame(seeds)
    gain, half = mean_interval(table[Candidate.TUNED] - table[Candidate.PROBE])
    columns = [*(name for name in NETWORKS), "gain of fine-tuning, 95% interval", "stages' seconds"]
    row = [*(spread(table[name]) for name in NETWORKS), f"{gain:+.1f} ± {half:.1f}", spread(table["seconds"])]
    flows = [results.measured(f"whole flow {number}", lambda: whole(assets, CHANGES)) for number in range(3)]
    return (
        f"{markdown_table(columns, [row])}\n\nwhole flow, no server running: {spread(flows, 0)} s (3 runs); {machine()}"
    )


def one(root: Path, assets: Path, seed: int) -> dict[str, float]:
    """Returns test accuracies, in percent, and the stages' duration in seconds."""
    study = Study(
        root / "study", assets / "hymenoptera", assets / "weights" / "mobilenet_v2.pth", {**CHANGES, "seed": seed}
    )
    study.forget()
    study.run("ingest")
    study.use(redrawn(study.manifest(), seed))
    seconds = study.run("augment", "features", "head", "finetune", "evaluate")
    return {**study.accuracies(), "seconds": seconds}


def redrawn(manifest: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Draws another fifth of each class's training images for validation; seed 0 keeps the split made by ingest."""
    if seed == 0:
        return manifest
    random = np.random.default_rng(seed)
    not_test = manifest[manifest[Column.SPLIT] != Split.TEST]
    for _, rows in not_test.groupby(Column.LABEL):
        manifest.loc[rows.index, Column.SPLIT] = Split.TRAIN.value
        manifest.loc[random.permutation(rows.index)[: round(len(rows) / 5)], Column.SPLIT] = Split.VALIDATION.value
    return manifest


def whole(assets: Path, changes: dict[str, Any], *, served: bool = False) -> float:
    """Returns the seconds of the retrain command in a fresh clone; if `served`, with servers up."""
    from flows.config.overrides import apply

    with tempfile.TemporaryDirectory() as folder:
        project = Project.fresh(Path(folder) / "project", None)
        changes = {
            **changes,
            "data.source": assets / "hymenoptera",
            "backbone.weights": assets / "weights" / "mobilenet_v2.pth",
        }
        apply(
            [part for name, value in changes.items() for part in (f"--{name}", str(value))],
            project.root / "params.yaml",
        )
        with serving(project) if served else nullcontext():
            started = time.perf_counter()
            done = project.retrain()
            seconds = time.perf_counter() - started
        assert done.returncode == 0, done.stdout + done.stderr
        return seconds
