"""Confident predictions as labels: MNIST, four labeled digits per class, the embedded backbone, three draws."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pandas as pd

from tasks.core.schema import Candidate, Column, Split
from tasks.reports.page import markdown_table
from tests.benchmarks.drawing import bars
from tests.benchmarks.results import Results, machine, spread
from tests.benchmarks.sets import GLYPHS, PLAIN, ingested, partly_labeled, unpacked
from tests.benchmarks.study import Study

DRAWS = 3
LABELS, VALIDATION = 4, 20  # per class; validation is used to calibrate, to audit and to choose
COMMON = {**PLAIN, "augment.rotation": 10.0, "augment.views": 16, "features.views": 16, "finetune.average": 0.99}
WAYS: dict[str, dict[str, object]] = {
    "labels of neighbors": {
        "objective": "pseudo_labels",
        "unlabelled.neighbours": 10,
        "finetune.epochs": 2,
        "finetune.batch": 64,
        "finetune.rate": 0.0001,
    },
    "FixMatch": {
        "objective": "fixmatch",
        "unlabelled.align": True,
        "unlabelled.ratio": 4.0,
        "unlabelled.strong": "none",
        "unlabelled.stronger": 2.0,
        "finetune.epochs": 4,
        "finetune.rate": 0.0005,
    },
}


def run(results: Results) -> str:
    """Returns the benchmark's table and saves a plot."""
    with tempfile.TemporaryDirectory() as folder:
        draws_by_way = {
            name: [results.measured(f"{name}, draw {n}", lambda: one(Path(folder), n, how)) for n in range(DRAWS)]
            for name, how in WAYS.items()
        }
    names = {
        "probe": "probe, %",
        "fine-tuned": "tuned, %",
        "trusted answers that are right, audited": "audited precision, %",
    }
    drawn = {
        title: {way: [draw[name] for draw in draws] for way, draws in draws_by_way.items()}
        for title, name in names.items()
    }
    bars("pseudo_labels", drawn, "%", 80)
    columns = list(next(iter(draws_by_way.values()))[0])
    rows = [[name, *(spread([d[column] for d in draws]) for column in columns)] for name, draws in draws_by_way.items()]
    return f"{markdown_table(['', *columns], rows)}\n\n{DRAWS} draws; {machine()}"


def one(root: Path, seed: int, how: dict[str, object]) -> dict[str, float]:
    """Returns both models' test accuracy and the audited precision, in percent; the label count; the seconds."""
    raw = unpacked(root / "digits", "digits_mnist_usps.tar.gz") / "mnist"
    whole = ingested(root, raw)
    train = whole[whole[Column.SPLIT] != Split.TEST]
    parts = [*partly_labeled(train, LABELS, VALIDATION, seed), whole[whole[Column.SPLIT] == Split.TEST]]
    study = Study(root / "study", raw, GLYPHS, {**COMMON, **how, "seed": seed})
    study.forget()
    study.use(pd.concat(parts, ignore_index=True))
    seconds = study.run("augment", "features", "head")
    seconds += study.run("finetune")
    report = study.reports["finetune"]
    study.run("evaluate")
    at = study.accuracies()
    return {
        "probe, %": at[Candidate.PROBE],
        "tuned, %": at[Candidate.TUNED],
        "audited precision, %": 100 * report.more["audited_precision"],
        "pseudo-labels": report.more.get("pseudo_labels", float("nan")),
        "seconds": seconds,
    }
