"""What augmentation by shift, scale and flip brings under shift, scale and flip: digits, and ants and bees, 5 seeds."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.parts.digits import render
from tasks.parts.page import markdown_table
from tests.benchmarks.few_labels import drawn
from tests.benchmarks.hymenoptera import CHANGES, redrawn
from tests.benchmarks.results import Results, assets_folder, machine, mean_interval, spread
from tests.benchmarks.study import Study
from tests.project import ROOT

SEEDS = 5
WITHOUT = {
    "features.views": 0,
    "augment.shift": 0.0,
    "augment.scale": 0.0,
    "augment.colour": 0.0,
    "augment.flip": False,
}
ALL = {"evaluate.corrupted": 10**6, "evaluate.resamples": 100, "scratch.run": False}
KINDS = ("none", "shift", "scale", "flip")


def run(results: Results) -> str:
    """The table."""
    assets = assets_folder()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        render(root / "raw")
        cases = {
            "digits, fine-tuned": (root / "raw", ROOT / "data" / "backbone" / "resnet10-glyphs.safetensors", {}),
            "ants and bees, frozen + head": (
                assets / "hymenoptera",
                assets / "weights" / "mobilenet_v2.pth",
                {**CHANGES, "finetune.epochs": 0},
            ),
        }
        for name, case in cases.items():
            seeds = [results.measured(f"{name}, {seed}", lambda: one(root, *case, seed)) for seed in range(SEEDS)]
            rows += [[name, *row] for row in table(seeds)]
    columns = ["", "corruption, strength", "without", "with", "gain, 95% interval"]
    return f"{markdown_table(columns, rows)}\n\naccuracy in %, {SEEDS} seeds; {machine()}"


def table(seeds: list[dict[str, dict[str, float]]]) -> list[list[str]]:
    """A row a corruption and strength."""
    rows = []
    for name in seeds[0]["with"]:
        without, with_it = ([seed[how][name] for seed in seeds] for how in ("without", "with"))
        gain, half = mean_interval([b - a for a, b in zip(without, with_it, strict=True)])
        rows.append([name, spread(without), spread(with_it), f"{gain:+.1f} ± {half:.1f}"])
    return rows


def one(root: Path, raw: Path, pretrained: Path, changes: dict[str, Any], seed: int) -> dict[str, dict[str, float]]:
    """Accuracy in percent under each corruption, without and with the policy."""
    found = {}
    for how, policy in (("without", WITHOUT), ("with", {})):
        study = Study(root / "study", raw, pretrained, {**changes, **ALL, **policy, "seed": seed})
        study.forget()
        study.run("ingest")
        draw = redrawn if changes else lambda manifest, own: drawn(manifest, 10, own)
        study.use(draw(study.manifest(), seed))
        study.run("augment", "features", "head", "finetune", "evaluate")
        robust = pd.read_csv(study.paths.robustness)
        wanted = robust[robust["corruption"].isin(KINDS)]
        found[how] = {
            f"{row['corruption']} {row['strength']:g}".replace("none 0", "none"): 100 * row["accuracy"]
            for row in wanted.to_dict("records")
        }
    return found
