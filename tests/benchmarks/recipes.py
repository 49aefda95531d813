"""The search for a recipe beside fixed recipes: accuracy, image passes, calibration.

A fixed recipe trains for 40 epochs, as many passes as the whole search. All share split, views and order.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.core.files import read_json
from tasks.core.schema import VALUE, Candidate, Metric
from tasks.reports.page import markdown_table
from tests.benchmarks.interpolation import Drawing, digits, gain_text, objects, photographs
from tests.benchmarks.results import Results, machine, spread

WHOLE = {"finetune.blocks": 99, "finetune.decay": 1.0, "finetune.cache": 0.0}
RECIPES: dict[str, dict[str, Any]] = {
    "search": {"finetune.recipe": "search"},
    "last two blocks": {},
    "whole network": WHOLE,
    "whole network, no head": {**WHOLE, "head.strengths": [1.0e9]},
}
SETS: dict[str, tuple[int, Drawing]] = {  # name: seeds, drawing
    "digits": (5, digits),
    "ants and bees": (5, photographs),
    "CIFAR-10, 10 labels per class": (5, partial(objects, 10)),
    "CIFAR-10, 100 labels per class": (3, partial(objects, 100)),
}


def run(results: Results) -> str:
    """Returns a table of accuracies, of paired gains over the probe, and of temperatures."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, (seeds, drawn) in SETS.items():
            by_recipe = {
                recipe: pd.DataFrame(
                    results.measured(f"{name}, {recipe}, {seed}", partial(one, Path(folder), drawn, recipe, seed))
                    for seed in range(seeds)
                )
                for recipe in RECIPES
            }
            probe = by_recipe["last two blocks"]["probe"]
            rows += [[f"{name}, {seeds} seeds", recipe, *columns(by_recipe[recipe], probe)] for recipe in RECIPES]
    headings = ["images", "recipe", "accuracy", "minus probe", "NLL", "ECE", "image passes", "seconds", "kept"]
    return f"{markdown_table(headings, rows)}\n\n{machine()}"


def columns(table: pd.DataFrame, probe: pd.Series) -> list[str]:
    """Returns the cells of a row: spreads over seeds, the gain with its lower bound, and what was kept."""
    cells = [spread(table["accuracy"]), gain_text(table["accuracy"] - probe)]
    cells += [spread(table[name], 3) for name in ("nll", "ece")]
    cells += [spread(table[name], 0) for name in ("passes", "seconds")]
    return [*cells, "; ".join(table["kept"])]


def one(root: Path, drawn: Drawing, recipe: str, seed: int) -> dict[str, Any]:
    """Runs a recipe. Returns test metrics, image passes, the seconds of finetune, and what was kept."""
    study, manifest = drawn(root, seed)
    study.use(manifest)
    study.change({"finetune.recipe": "fixed", **RECIPES[recipe]})
    study.run("augment", "features", "head")
    seconds = study.run("finetune")
    study.run("evaluate")
    report, scores = study.reports["finetune"], read_json(study.paths.metrics)
    rows = pd.read_json(study.paths.curves, lines=True)
    passes = report.more.get("image_passes", rows["epoch"].max() * (manifest["split"] == "train").sum())
    return {
        "accuracy": 100 * scores[Candidate.TUNED][Metric.ACCURACY][VALUE],
        "probe": 100 * scores[Candidate.PROBE][Metric.ACCURACY][VALUE],
        "nll": scores[Candidate.TUNED][Metric.NLL][VALUE],
        "ece": scores[Candidate.TUNED][Metric.ECE][VALUE],
        "temperature": read_json(study.paths.spec)["temperature"],
        "passes": float(passes),
        "seconds": seconds,
        "kept": f"{recipe if report.recipe == 'fixed' else report.recipe} {report.more.get('alpha', 1.0):g}",
    }
