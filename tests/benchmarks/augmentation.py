"""The gain from each augmentation under each corruption: digits, and ants and bees, 5 seeds."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.embedded.digits import render
from tasks.reports.page import markdown_table
from tests.benchmarks.few_labels import drawn
from tests.benchmarks.hymenoptera import CHANGES, redrawn
from tests.benchmarks.methods import with_interval
from tests.benchmarks.results import Results, assets_folder, machine
from tests.benchmarks.study import Study
from tests.project import ROOT

SEEDS = 5
NONE = {
    "augment.shift": 0.0,
    "augment.scale": 0.0,
    "augment.colour": 0.0,
    "augment.flip": False,
    "augment.check": False,  # flipped digits are measured as well
}
POLICIES: dict[str, dict[str, Any]] = {  # all others are compared with the first
    "none": {**NONE, "features.views": 0},
    "default": {},
    "shift 20%": {**NONE, "augment.shift": 0.2},
    "scale 20%": {**NONE, "augment.scale": 0.2},
    "flip": {**NONE, "augment.flip": True},
    "rotation 15°": {**NONE, "augment.rotation": 15.0},
    "shift, scale, flip and rotation": {
        **NONE,
        "augment.shift": 0.2,
        "augment.scale": 0.2,
        "augment.flip": True,
        "augment.rotation": 15.0,
    },
    "color 40%": {**NONE, "augment.colour": 0.4},
    "erasing half of the images": {**NONE, "augment.erase": 0.5},
    "RandAugment": {**NONE, "augment.automatic": "rand"},
    "TrivialAugment": {**NONE, "augment.automatic": "trivial"},
    "AugMix": {**NONE, "augment.automatic": "augmix"},
}
COMMON = {
    "evaluate.corrupted": 10**6,
    "scratch.run": False,
    "evaluate.corruptions": {
        "shift": [0.1, 0.2],
        "scale": [0.8, 1.2],
        "flip": [1],
        "rotation": [15],
        "noise": [0.1],
        "blur": [0.02],
        "jpeg": [20],
    },
}
PHOTOGRAPHS = {**CHANGES, "finetune.epochs": 8}


def run(results: Results) -> str:
    """Returns a table per data set."""
    assets = assets_folder()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        render(root / "raw")
        cases = {
            "digits": (root / "raw", ROOT / "data" / "backbone" / "resnet10-glyphs.safetensors", {}),
            "ants and bees": (assets / "hymenoptera", assets / "weights" / "mobilenet_v2.pth", PHOTOGRAPHS),
        }
        tables = [table(results, name, partial(one, root, *case)) for name, case in cases.items()]
    return "\n\n".join([*tables, f"accuracy in %, {SEEDS} seeds; {machine()}"])


def table(results: Results, name: str, one: Any) -> str:
    """Returns a row per policy (accuracy without one; mean gain, 95% interval) and a column per corruption."""
    scores_by_policy = {
        policy: pd.DataFrame(
            [results.measured(f"{name}, {policy}, {seed}", partial(one, changes, seed)) for seed in range(SEEDS)]
        )
        for policy, changes in POLICIES.items()
    }
    plain = scores_by_policy["none"]
    rows = [["none", *(with_interval(list(plain[under])) for under in plain)]]
    rows += [
        [policy, *(with_interval(list(scores[under] - plain[under]), "+.1f") for under in plain)]
        for policy, scores in scores_by_policy.items()
        if scores is not plain
    ]
    return markdown_table([name, *plain], rows)


def one(
    root: Path, raw: Path, weights: Path, settings: dict[str, Any], policy: dict[str, Any], seed: int
) -> dict[str, float]:
    """Returns the tuned model's accuracy, in percent, on the original test images and under each corruption."""
    study = Study(root / "study", raw, weights, {**settings, **COMMON, **policy, "seed": seed})
    study.forget()
    study.run("ingest")
    manifest = study.manifest()
    study.use(redrawn(manifest, seed) if settings else drawn(manifest, 10, seed))
    study.run("augment", "features", "head", "finetune", "evaluate")
    robust = pd.read_csv(study.paths.robustness)
    return {
        f"{row['corruption']} {row['strength']:g}".removesuffix(" 0"): 100 * row["accuracy"]
        for row in robust.to_dict("records")
    }
