"""MNIST to USPS and back, without target labels: every method, with epochs chosen without target labels; 3 seeds."""

from __future__ import annotations

import tempfile
from functools import partial
from math import isnan
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.core.schema import Candidate, Column, Split
from tasks.reports.page import markdown_table
from tests.benchmarks.drawing import bars
from tests.benchmarks.results import Results, machine, spread
from tests.benchmarks.sets import GLYPHS, PLAIN, as_split, below, ingested, some, unpacked
from tests.benchmarks.study import Study

SEEDS = 3
DIRECTIONS = (("mnist", "usps"), ("usps", "mnist"))
IMAGES = 200  # per class, from each domain
COMMON = {**PLAIN, "backbone.resize": 48, "backbone.crop": 48, "features.views": 0, "augment.views": 8}
COMMON |= {"finetune.blocks": 99, "finetune.cache": 0.0}
COMMON |= {"augment.scale": 0.25, "augment.shift": 0.1, "augment.rotation": 10.0, "finetune.patience": 99}
COMMON |= {"finetune.batch": 64, "finetune.rate": 0.0005, "finetune.head_rate": 0.0005, "finetune.epochs": 5}
COMMON |= {"domain.oracle": True}
METHODS: dict[str, dict[str, Any]] = {
    "source only": {},
    "BatchNorm re-estimated": {"objective": "batchnorm", "finetune.batchnorm": "training"},
    "Deep CORAL": {"objective": "coral", "domain.weights": [10.0]},
    "DANN": {"objective": "dann", "domain.weights": [0.3]},
    "MCC": {"objective": "mcc", "domain.weights": [1.0]},
    "FixMatch": {
        "objective": "fixmatch",
        "unlabelled.strong": "none",
        "unlabelled.stronger": 1.5,
        "unlabelled.precision": 0.8,
    },
    "trained on the target": {},
}


def run(results: Results) -> str:
    """Returns the benchmark's tables and saves a plot."""
    texts, drawn = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for source, target in DIRECTIONS:
            drawn[f"{source} to {target}"] = accuracies = {}
            rows, way = [], f"{source} to {target}"
            for name in METHODS:
                seeds = [
                    results.measured(
                        f"{source} to {target}, {name}, {n}", partial(one, Path(folder), source, target, name, n)
                    )
                    for n in range(SEEDS)
                ]
                accuracies[name] = [seed["accuracy"] for seed in seeds]
                rows.append([name, *(spread_or_empty([s[column] for s in seeds]) for column in seeds[0])])
            columns = [way, "accuracy, %", "best epoch by target labels (oracle), %", "seconds"]
            texts.append(markdown_table(columns, rows))
    bars("domains", drawn, "accuracy on the target's test images, %", 70)
    return "\n\n".join(texts) + f"\n\n{SEEDS} seeds; {machine()}"


def spread_or_empty(values: list[float]) -> str:
    """Formats the mean ± standard deviation; empty if undefined."""
    return "" if isnan(values[0]) else spread(values)


def one(root: Path, source: str, target: str, name: str, seed: int) -> dict[str, float]:
    """Returns the accuracy on the target's test images, in percent, of the chosen epoch and of the best epoch."""
    raw = unpacked(root / "digits", "digits_mnist_usps.tar.gz")
    source_rows, target_rows = (below(ingested(root, raw / domain), domain) for domain in (source, target))
    learned = target_rows if name == "trained on the target" else source_rows
    parts = [
        some(learned[learned[Column.SPLIT] == Split.TRAIN], IMAGES, seed),
        some(learned[learned[Column.SPLIT] == Split.VALIDATION], IMAGES // 5, seed),
        as_split(some(target_rows[target_rows[Column.SPLIT] == Split.TRAIN], IMAGES, seed), Split.UNLABELED),
        target_rows[target_rows[Column.SPLIT] == Split.TEST],
    ]
    study = Study(root / "study", raw, GLYPHS, {**COMMON, **METHODS[name], "seed": seed})
    study.forget()
    study.use(pd.concat(parts, ignore_index=True))
    seconds = study.run("augment", "features", "head", "finetune", "evaluate")
    accuracy = study.accuracies()[Candidate.TUNED]
    return {
        "accuracy": accuracy,
        "oracle": 100 * study.reports["finetune"].more.get("oracle_score", float("nan")),
        "seconds": seconds,
    }
