"""A teacher's benefit to an untrained student: CIFAR-10, 40 labels per class and 10,000 unlabeled images."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pandas as pd

from tasks.core.files import read_json
from tasks.core.schema import VALUE, Candidate, Column, Metric, Split
from tasks.reports.page import markdown_table
from tests.benchmarks.results import Results, assets_folder, machine, spread
from tests.benchmarks.sets import PLAIN, WHOLE, ingested, partly_labeled, random_backbone, some, unpacked
from tests.benchmarks.study import Study

SEEDS = 3
LABELS, UNLABELED, VALIDATION, TEST = 40, 1000, 20, 300  # images per class
AUGMENT = {"augment.flip": True, "augment.check": False, "augment.fill": "mirror", "augment.shift": 0.1}
TEACHER = {**PLAIN, **AUGMENT, "backbone.architecture": "mobilenet_v2", "backbone.resize": 96, "backbone.crop": 96}
TEACHER |= {"finetune.blocks": 4, "finetune.epochs": 20, "augment.views": 8}
STUDENT = {**PLAIN, **WHOLE, **AUGMENT, "backbone.resize": 48, "backbone.crop": 48, "features.views": 0}
STUDENT |= {"finetune.batch": 64, "finetune.rate": 0.002, "finetune.head_rate": 0.002, "augment.views": 8}
STUDENT |= {"head.strengths": [1.0e9]}
ALONE = {"finetune.epochs": 60, "finetune.patience": 60}
TAUGHT = {"objective": "distillation", "teacher.weights": "brought in", "finetune.epochs": 20, "finetune.patience": 20}


def run(results: Results) -> str:
    """Returns the benchmark's table."""
    with tempfile.TemporaryDirectory() as folder:
        seeds = [results.measured(f"seed {seed}", lambda: one(Path(folder), seed)) for seed in range(SEEDS)]
    columns = list(seeds[0])
    row = [spread([seed[name] for seed in seeds], 1) for name in columns]
    return f"{markdown_table(columns, [row])}\n\nCIFAR-10, {SEEDS} seeds; {machine()}"


def one(root: Path, seed: int) -> dict[str, float]:
    """Returns test accuracies, the closed share of the accuracy gap, and the two models' agreement, in percent."""
    raw = unpacked(root / "cifar", "cifar10_jpg.tar.gz") / "cifar10_jpg"
    whole = ingested(root, raw)
    train = some(whole[whole[Column.SPLIT] != Split.TEST], LABELS + VALIDATION + UNLABELED, seed)
    test = some(whole[whole[Column.SPLIT] == Split.TEST], TEST, 0)
    manifest = pd.concat([*partly_labeled(train, LABELS, VALIDATION, seed + 100), test], ignore_index=True)
    weights = assets_folder() / "weights" / "mobilenet_v2.pth"
    teacher = Study(root / "teacher", raw, weights, {**TEACHER, "seed": seed})
    random = random_backbone(root / "random.safetensors", "resnet10", seed)
    alone, student = (
        Study(root / name, raw, random, {**STUDENT, **more, "seed": seed})
        for name, more in (("alone", ALONE), ("student", TAUGHT))
    )
    seconds = {}
    for name, study in (("teacher", teacher), ("alone", alone), ("taught", student)):
        study.forget()
        study.use(manifest)
        if study is student:
            teacher.becomes_teacher(student.paths.teacher)
        seconds[name] = study.run("augment", "features", "head", "finetune", "evaluate")
    by_itself, table = alone.accuracies()[Candidate.TUNED], read_json(student.paths.metrics)
    big, taught = (100 * table[name][Metric.ACCURACY][VALUE] for name in (Candidate.TEACHER, Candidate.TUNED))
    return {
        "teacher, %": big,
        "student on the labels alone, %": by_itself,
        "student that is taught, %": taught,
        "of the gap closed, %": 100 * (taught - by_itself) / (big - by_itself),
        "agreement, %": 100 * table[Candidate.TUNED][Metric.AGREEMENT][VALUE],
        **{f"{name}, seconds": value for name, value in seconds.items()},
    }
