"""Regression: the rotation of real digits in degrees, uniform in +-60; 3 seeds of views and initialization."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ruamel.yaml import YAML

from tasks.core.files import read_json
from tasks.core.schema import VALUE, Candidate, Metric
from tasks.data.tables.copying import bring_together
from tasks.data.tables.options import TableOptions
from tasks.embedded.digits import render_rotations
from tasks.reports.page import markdown_table
from tests.benchmarks.results import Results, machine, spread
from tests.benchmarks.study import Study
from tests.project import ROOT

SEEDS = 3
METRICS = (Metric.R2, Metric.MAE, Metric.RMSE)


def run(results: Results) -> str:
    """Returns the benchmark's table."""
    with tempfile.TemporaryDirectory() as folder:
        options = TableOptions(targets=("angle",))
        raw = bring_together(render_rotations(Path(folder) / "rotations"), Path(folder) / "raw", options)
        seeds = [results.measured(f"seed {seed}", lambda: one(Path(folder), raw, seed)) for seed in range(SEEDS)]
    rows = [
        [name, *(spread([seed[name][metric] for seed in seeds], 3 if metric == Metric.R2 else 2) for metric in METRICS)]
        for name in Candidate
    ]
    seconds = spread([seed["seconds"] for seed in seeds], 0)
    columns = ["", "R²", "mean absolute error, degrees", "RMSE, degrees"]
    return f"{markdown_table(columns, rows)}\n\n{SEEDS} seeds, 3,188 test pictures; stages {seconds} s; {machine()}"


def one(root: Path, raw: Path, seed: int) -> dict[str, object]:
    """Returns the scores of each candidate and the stages' duration in seconds."""
    preset = YAML(typ="safe").load(ROOT / "params.yaml")["presets"]["rotations"]
    pretrained = ROOT / "data" / "backbone" / "resnet10-glyphs.safetensors"
    study = Study(root / "study", raw, pretrained, {**preset, "seed": seed, "evaluate.corrupted": 0})
    study.forget()
    seconds = study.run("ingest", "augment", "features", "head", "finetune", "evaluate")
    scores = read_json(study.paths.metrics)
    return {**{name: {m: at[VALUE] for m, at in row.items()} for name, row in scores.items()}, "seconds": seconds}
