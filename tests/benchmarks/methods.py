"""Transfer methods with ImageNet's MobileNetV2: ants and bees, and CIFAR-10 with 10, 100 and 1,000 labels per class.

All methods with the same seed share split, views and order. LP-FT and fine-tuning train the whole network at the same
rates and differ only in the initial head: the linear probe's head, or none (Kumar et al., 2022).
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.core.schema import Candidate, Column, Split
from tasks.reports.page import markdown_table
from tests.benchmarks.hymenoptera import CHANGES, redrawn
from tests.benchmarks.results import Results, assets_folder, machine, mean_interval, middle
from tests.benchmarks.sets import PLAIN, as_split, ingested, some, unpacked
from tests.benchmarks.study import Study

ALL_BLOCKS = {
    "finetune.blocks": 99,
    "finetune.decay": 1.0,
    "finetune.cache": 0.0,
    "finetune.patience": 99,
    "finetune.head_rate": 0.001,
}
HALVED = {**ALL_BLOCKS, "finetune.decay": 0.5}  # per block, as by default: the first of 19 blocks barely moves
NO_PROBE = {"head.strengths": [1.0e9]}  # a penalty that leaves almost nothing of the head
WAYS: dict[str, dict[str, Any]] = {
    "linear": {"finetune.epochs": 0},
    "dense 1024": {"finetune.epochs": 0, "head.kind": "dense", "head.strengths": [0.01]},
    "fine-tuning": {**ALL_BLOCKS, **NO_PROBE},
    "LP-FT": ALL_BLOCKS,
    "LP-FT, moving average": {**ALL_BLOCKS, "finetune.average": 0.98},
    "fine-tuning, rates halved": {**HALVED, **NO_PROBE},
    "LP-FT, rates halved": HALVED,
    "LP-FT, rates halved, moving average": {**HALVED, "finetune.average": 0.98},
    "gradual unfreezing, rates halved": {**HALVED, "finetune.unfreeze": 1},
    "LP-FT, last two blocks": {"finetune.blocks": 2, "finetune.patience": 99},
}
COMMON = {**PLAIN, **CHANGES}
CIFAR = {**COMMON, "backbone.resize": 96, "backbone.crop": 96}
LABELS = {10: (5, 12), 100: (5, 6), 1000: (5, 2)}  # labels per class: seeds, epochs
TEST, VALIDATION = 100, 20  # images per class
HYMENOPTERA = (5, 8)  # seeds, epochs


def run(results: Results) -> str:
    """Returns the benchmark's tables."""
    with tempfile.TemporaryDirectory() as folder:
        root, texts = Path(folder), []
        texts.append(table(results, "ants and bees", *HYMENOPTERA, partial(ants_and_bees, root)))
        for labels, (seeds, epochs) in LABELS.items():
            name = f"CIFAR-10, {labels} labels per class"
            texts.append(table(results, name, seeds, epochs, partial(objects, root, labels)))
    return "\n\n".join([*texts, f"{10 * TEST} test images of CIFAR-10; {machine()}"])


def table(results: Results, name: str, seeds: int, epochs: int, one: Any) -> str:
    """Returns accuracy and its difference from fine-tuning (mean, 95% interval), and median seconds of head and fit."""
    scores_by_way = {
        way: [
            results.measured(f"{name}, {way}, {seed}", partial(one, {"finetune.epochs": epochs, **changes}, seed))
            for seed in range(seeds)
        ]
        for way, changes in WAYS.items()
    }
    plain, rows = scores_by_way["fine-tuning"], []
    for way, scores in scores_by_way.items():
        gains = [here["accuracy"] - there["accuracy"] for here, there in zip(scores, plain, strict=True)]
        gain = "" if scores is plain else with_interval(gains, "+.1f")
        seconds = middle([here["seconds"] for here in scores], 0)
        rows.append([way, with_interval([here["accuracy"] for here in scores]), gain, seconds])
    columns = [f"{name}, {seeds} seeds, {epochs} epochs", "test accuracy, %", "minus fine-tuning", "seconds to learn"]
    return markdown_table(columns, rows)


def with_interval(values: list[float], form: str = ".1f") -> str:
    """Formats the mean ± the half-width of its 95% t interval."""
    mean, half = mean_interval(values)
    return f"{mean:{form}} ± {half:.1f}"


def ants_and_bees(root: Path, changes: dict[str, Any], seed: int) -> dict[str, float]:
    """Returns a method's test accuracy and seconds; a seed draws the fifth of train used for validation."""
    raw = assets_folder() / "hymenoptera"
    return one(root, raw, redrawn(ingested(root, raw), seed), {**COMMON, **changes}, seed)


def objects(root: Path, labels: int, changes: dict[str, Any], seed: int) -> dict[str, float]:
    """Returns a method's test accuracy on CIFAR-10 and its seconds; a seed draws the labeled images."""
    raw, manifest = some_objects(root, labels, seed)
    return one(root, raw, manifest, {**CIFAR, **changes}, seed)


def some_objects(root: Path, labels: int, seed: int) -> tuple[Path, pd.DataFrame]:
    """Returns the folder of CIFAR-10, and a manifest of some of its images; a seed draws the labeled ones."""
    raw = unpacked(root / "cifar", "cifar10_jpg.tar.gz") / "cifar10_jpg"
    whole = ingested(root, raw)
    labeled = some(whole[whole[Column.SPLIT] != Split.TEST], labels + VALIDATION, seed)
    validation = some(labeled, VALIDATION, seed + 100)
    test = some(whole[whole[Column.SPLIT] == Split.TEST], TEST, 0)
    parts = [as_split(labeled.drop(validation.index), Split.TRAIN), as_split(validation, Split.VALIDATION), test]
    return raw, pd.concat(parts, ignore_index=True)


def one(root: Path, raw: Path, manifest: pd.DataFrame, changes: dict[str, Any], seed: int) -> dict[str, float]:
    """Runs the stages on this manifest. Seconds cover only head and fine-tuning, since methods share their features."""
    weights = assets_folder() / "weights" / "mobilenet_v2.pth"
    study = Study(root / "study", raw, weights, {**changes, "seed": seed})
    study.use(manifest)
    study.run("augment", "features")
    seconds = study.run("head", "finetune")
    study.run("evaluate")
    return {"accuracy": study.accuracies()[Candidate.TUNED], "seconds": seconds}
