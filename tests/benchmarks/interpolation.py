"""The registered model beside its probe: what fine-tuning gains or costs with interpolation, and with the best epoch.

Ants and bees, the embedded digits, and CIFAR-10 with 10 and 100 labels per class, with the default recipe. A seed draws
the labeled images or the validation split, the views and the order.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t as student

from tasks.core.schema import Candidate
from tasks.embedded.digits import render
from tasks.reports.page import markdown_table
from tests.benchmarks.hymenoptera import redrawn
from tests.benchmarks.methods import CIFAR, COMMON, some_objects
from tests.benchmarks.results import Results, assets_folder, machine, spread
from tests.benchmarks.sets import GLYPHS, PLAIN, ingested
from tests.benchmarks.study import Study

RECIPES = {"interpolation": {}, "best epoch": {"finetune.interpolation": []}}
Drawing = Callable[[Path, int], tuple[Study, pd.DataFrame]]  # from a folder and a seed


def run(results: Results) -> str:
    """Returns a table of accuracies and of paired gains over the probe."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, (seeds, drawn) in SETS.items():
            by_seed = [
                results.measured(f"{name}, seed {seed}", partial(one, Path(folder), drawn, seed))
                for seed in range(seeds)
            ]
            table = pd.DataFrame(by_seed)
            gains = [table[recipe] - table["probe"] for recipe in RECIPES]
            alphas = " ".join(f"{alpha:g}" for alpha in table["alpha"])
            columns = [spread(table[column]) for column in ("probe", *RECIPES)]
            rows.append([f"{name}, {seeds} seeds", *columns, *map(gain_text, gains), alphas])
    headings = ["images", "probe", *RECIPES, *(f"{recipe} minus probe" for recipe in RECIPES), "alpha"]
    return f"{markdown_table(headings, rows)}\n\n{machine()}"


def gain_text(gain: pd.Series) -> str:
    """Formats a mean gain with its lower 95% bound over seeds."""
    low = gain.mean() - student.ppf(0.95, len(gain) - 1) * gain.std(ddof=1) / np.sqrt(len(gain))
    return f"{gain.mean():+.2f}, at least {low:+.2f}"


def one(root: Path, drawn: Drawing, seed: int) -> dict[str, float]:
    """Returns the test accuracies of the probe and of both recipes, in percent, and the alpha that was chosen."""
    study, manifest = drawn(root, seed)
    study.use(manifest)
    study.run("augment", "features", "head")
    row: dict[str, float] = {}
    for recipe, changes in RECIPES.items():
        study.change({"finetune.interpolation": [0.25, 0.5, 0.75, 1.0], **changes})
        study.run("finetune", "evaluate")
        row |= {"probe": study.accuracies()[Candidate.PROBE], recipe: study.accuracies()[Candidate.TUNED]}
        row |= {name: value for name, value in study.reports["finetune"].more.items() if name == "alpha"}
    return row


def photographs(root: Path, seed: int) -> tuple[Study, pd.DataFrame]:
    """Returns ants and bees; a seed draws the fifth of train used for validation."""
    raw, weights = assets_folder() / "hymenoptera", assets_folder() / "weights" / "mobilenet_v2.pth"
    study = Study(root / "photographs", raw, weights, {**COMMON, "seed": seed})
    return study, redrawn(ingested(root, raw), seed)


def digits(root: Path, seed: int) -> tuple[Study, pd.DataFrame]:
    """Returns the embedded digits; a seed draws validation from train and validation."""
    raw = root / "raw"
    if not raw.exists():
        render(raw)
    study = Study(root / "digits", raw, GLYPHS, {**PLAIN, "seed": seed})
    return study, redrawn(ingested(root, raw), seed)


def objects(labels: int, root: Path, seed: int) -> tuple[Study, pd.DataFrame]:
    """Returns CIFAR-10; a seed draws the labeled images."""
    raw, manifest = some_objects(root, labels, seed)
    weights = assets_folder() / "weights" / "mobilenet_v2.pth"
    study = Study(root / f"objects-{labels}", raw, weights, {**CIFAR, "seed": seed})
    return study, manifest


SETS: dict[str, tuple[int, Drawing]] = {  # name: seeds, drawing
    "digits": (10, digits),
    "ants and bees": (10, photographs),
    "CIFAR-10, 10 labels per class": (5, partial(objects, 10)),
    "CIFAR-10, 100 labels per class": (5, partial(objects, 100)),
}
