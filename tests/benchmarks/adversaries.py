"""Adversarial training: MNIST, Linf 0.3; how much an ensemble of attacks leaves, by two libraries."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pandas as pd

from tasks.parts.attacks import masked
from tasks.parts.names import Candidate, Column, Split
from tasks.parts.page import markdown_table
from tests.benchmarks.results import Results, machine
from tests.benchmarks.sets import GLYPHS, PLAIN, ingested, some, unpacked
from tests.benchmarks.study import Study

ATTACKED = 1000
COMMON = {**PLAIN, "backbone.resize": 32, "backbone.crop": 32, "features.views": 0, "augment.views": 4}
COMMON |= {"finetune.blocks": 99, "finetune.cache": 0.0, "finetune.decay": 1.0, "finetune.batch": 64}
COMMON |= {"augment.colour": 0.0, "augment.scale": 0.05, "augment.shift": 0.03, "evaluate.attacked": ATTACKED}
COMMON |= {"finetune.rate": 0.001, "finetune.head_rate": 0.001, "adversaries.radius": 0.3, "adversaries.clean": 1.0}
CLEAN = {"finetune.epochs": 2}
DEFENDED = {"objective": "pgd", "adversaries.steps": 10, "finetune.epochs": 10, "finetune.patience": 10}
VALIDATION = 50  # images a class


def run(results: Results) -> str:
    """The table."""
    with tempfile.TemporaryDirectory() as folder:
        found = results.measured("seed 0", lambda: one(Path(folder), 0))
    rows = [[name, *(f"{100 * value:.1f}" for value in own.values())] for name, own in found["accuracy"].items()]
    columns = ["accuracy, %", *next(iter(found["accuracy"].values()))]
    return (
        f"{markdown_table(columns, rows)}\n\nsigns of masked gradients: {found['masked'] or 'none'}; "
        f"{found['seconds']:.0f} s; {ATTACKED} test images; {machine()}"
    )


def one(root: Path, seed: int) -> dict[str, object]:
    """Accuracy after each attack, of the undefended and of the defended model."""
    raw = unpacked(root / "digits", "digits_mnist_usps.tar.gz") / "mnist"
    whole = ingested(root, raw)
    held = whole[whole[Column.SPLIT] == Split.VALIDATION]
    manifest = whole.drop(held.index.difference(some(held, VALIDATION, 0).index))
    clean = Study(root / "clean", raw, GLYPHS, {**COMMON, **CLEAN, "seed": seed})
    clean.forget()
    clean.use(manifest)
    seconds = clean.run("augment", "features", "head", "finetune", "evaluate")
    defended = Study(
        root / "defended", raw, clean.backbone_of(root / "warm.safetensors"), {**COMMON, **DEFENDED, "seed": seed}
    )
    defended.forget()
    defended.use(manifest)
    seconds += defended.run("augment", "features", "head", "finetune", "evaluate")
    tables = {name: tuned(study) for name, study in (("undefended", clean), ("defended", defended))}
    return {
        "accuracy": {name: dict(zip(own["attack"], own["accuracy"], strict=True)) for name, own in tables.items()},
        "masked": "; ".join(masked(tables["defended"])),
        "seconds": seconds,
    }


def tuned(study: Study) -> pd.DataFrame:
    """The tuned model's rows."""
    table = pd.read_csv(study.paths.attacks)
    return table[table["model"] == Candidate.TUNED]
