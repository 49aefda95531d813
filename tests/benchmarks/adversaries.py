"""Adversarial training on MNIST, Linf 0.3: accuracy after an ensemble of attacks, as measured by two libraries."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import save_file

from tasks.core.objective_sections import AdversariesSection
from tasks.core.schema import Candidate, Column, Split
from tasks.core.target import TargetSpec
from tasks.data.manifest import of_split
from tasks.evaluation.attacks import ALL, masking_signs, robust_accuracy
from tasks.images.loading import ImageSquares
from tasks.reports.page import markdown_table
from tasks.scorer.answer import Scorer
from tests.benchmarks.drawing import bars
from tests.benchmarks.results import Results, machine, spread
from tests.benchmarks.sets import PLAIN, WHOLE, ingested, random_backbone, some, unpacked
from tests.benchmarks.speed import SCRIPTS, environment_of_peers, output
from tests.benchmarks.study import Study
from tests.project import ROOT

ARCHITECTURE = "resnet8"  # sees every pixel; a network that begins with a stride learns little at this radius
SEEDS = 3
ATTACKED, BY_BOTH = 1000, 10  # test images; images per class that both libraries attack
COMMON = {
    **PLAIN,
    **WHOLE,
    "backbone.architecture": ARCHITECTURE,
    "backbone.resize": 28,
    "backbone.crop": 28,
    "features.views": 0,
    "augment.views": 4,
}
COMMON |= {"finetune.batch": 64, "finetune.rate": 0.004, "finetune.head_rate": 0.004, "finetune.patience": 99}
COMMON |= {"augment.colour": 0.0, "augment.scale": 0.05, "augment.shift": 0.03}
COMMON |= {"adversaries.radius": 0.3, "adversaries.clean": 1.0, "evaluate.attacked": ATTACKED}
CLEAN = {"finetune.epochs": 3, "head.strengths": [1.0e9]}
DEFENDED = {"objective": "pgd", "adversaries.steps": 5, "adversaries.grow": 3, "finetune.epochs": 12}
VALIDATION = 20  # images per class


def run(results: Results) -> str:
    """Returns the benchmark's table and saves a plot."""
    with tempfile.TemporaryDirectory() as folder:
        seeds = [results.measured(f"seed {seed}", lambda seed=seed: one(Path(folder), seed)) for seed in range(SEEDS)]
    left = {
        name: {attack: [100 * seed["accuracy"][name][attack] for seed in seeds] for attack in by_attack}
        for name, by_attack in seeds[0]["accuracy"].items()
    }
    bars("adversaries", left, "test images that are answered rightly, %")
    rows = [
        [name, *(spread(values) for values in (*by_attack.values(), of(seeds, name)))]
        for name, by_attack in left.items()
    ]
    columns = ["accuracy, %", *next(iter(left.values())), "all test images, unattacked"]
    twice = ", ".join(f"{seed['ours']:.0%} and {seed['theirs']:.0%}" for seed in seeds)
    return (
        f"{markdown_table(columns, rows)}\n\n{10 * BY_BOTH} images, defended, after all attacks by the Adversarial "
        f"Robustness Toolbox and by torchattacks, seed by seed: {twice}; signs of masked gradients: "
        f"{'; '.join(seed['masked'] for seed in seeds if seed['masked']) or 'none'}; "
        f"{spread([seed['seconds'] for seed in seeds], 0)} s; {ATTACKED} test images; {SEEDS} seeds; {machine()}"
    )


def of(seeds: list[dict[str, Any]], name: str) -> list[float]:
    """Returns the accuracy on all test images without an attack, in percent, by seed."""
    return [seed["clean"][name] for seed in seeds]


def one(root: Path, seed: int) -> dict[str, Any]:
    """Returns both models' accuracy after each attack, and the defended model's after two libraries' ensembles."""
    raw = unpacked(root / "digits", "digits_mnist_usps.tar.gz") / "mnist"
    whole = ingested(root, raw)
    held = whole[whole[Column.SPLIT] == Split.VALIDATION]
    manifest = whole.drop(held.index.difference(some(held, VALIDATION, 0).index))
    random = random_backbone(root / "random.safetensors", ARCHITECTURE, seed)
    clean = Study(root / "clean", raw, random, {**COMMON, **CLEAN, "seed": seed})
    clean.forget()
    clean.use(manifest)
    seconds = clean.run("augment", "features", "head", "finetune", "evaluate")
    defended = Study(
        root / "defended", raw, clean.backbone_of(root / "warm.safetensors"), {**COMMON, **DEFENDED, "seed": seed}
    )
    defended.forget()
    defended.use(manifest)
    seconds += defended.run("augment", "features", "head", "finetune", "evaluate")
    studies = {"undefended": clean, "defended": defended}
    tables = {name: tuned(study) for name, study in studies.items()}
    return {
        "accuracy": {
            name: dict(zip(table["attack"], table["accuracy"], strict=True)) for name, table in tables.items()
        },
        "clean": {name: study.accuracies()[Candidate.TUNED] for name, study in studies.items()},
        "masked": "; ".join(masking_signs(tables["defended"])),
        **by_both(defended),
        "seconds": seconds,
    }


def by_both(study: Study) -> dict[str, float]:
    """Returns the tuned model's accuracy on the same images after each library's ensemble of attacks."""
    paths, manifest = study.paths, study.manifest()
    budget = AdversariesSection(**study.document["adversaries"])
    scorer, rows = Scorer.load(paths.spec, paths.tuned), some(of_split(manifest, Split.TEST), BY_BOTH, 0)
    squares = ImageSquares(paths.raw, list(rows[Column.PATH]), scorer.preprocessing, memory=0)
    x_N3SS = scorer.preprocessing.center(squares[range(len(rows))])
    y_N = torch.from_numpy(TargetSpec.load(paths.task).encode(rows))
    table = robust_accuracy(scorer.network, scorer.preprocessing, x_N3SS, y_N, budget, 50, 0).set_index("attack")
    pictures = paths.state / "pictures.safetensors"
    save_file({"x": x_N3SS.contiguous(), "y": y_N}, pictures)
    arguments = (paths.spec, paths.tuned, pictures)
    command = [
        str(environment_of_peers("bench-attacks")),
        str(SCRIPTS / "torchattacks_auto.py"),
        *arguments,
        str(budget.radius),
    ]
    printed = output(command, env={**os.environ, "PYTHONPATH": str(ROOT)})
    return {"ours": table.loc[ALL, "accuracy"], "theirs": float(printed.split()[-1])}


def tuned(study: Study) -> pd.DataFrame:
    """Returns the tuned model's rows of the attack table."""
    table = pd.read_csv(study.paths.attacks)
    return table[table["model"] == Candidate.TUNED]
