"""Digits with few labels: from scratch, frozen + head and fine-tuned, with 1, 5, 10 and 20 labels per class, 10 seeds.

A seed draws the initialization and the labeled images, the same number of each digit, from train and unlabeled
combined; validation and test stay the same.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd

from tasks.core.schema import Candidate, Column, Split
from tasks.embedded.digits import digits, render
from tasks.reports.figures import COLORS
from tasks.reports.page import markdown_table
from tests.benchmarks.results import PICTURES, Results, machine, mean_interval, spread
from tests.benchmarks.study import NETWORKS, Study
from tests.project import ROOT

mpl.use("Agg")

LABELS = (1, 5, 10, 20)
SEEDS = 10


def run(results: Results) -> str:
    """Returns the benchmark's table and saves a plot."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        render(root / "raw")
        accuracies = by_labels(results, LABELS, SEEDS, lambda labels, seed: one(root, labels, seed))
    draw(accuracies)
    rows = []
    for labels, seeds in accuracies.items():
        table = pd.DataFrame(seeds)
        gain, half = mean_interval(table[Candidate.TUNED] - table[Candidate.PROBE])
        rows.append([labels, *(spread(table[name]) for name in NETWORKS), f"{gain:+.1f} ± {half:.1f}"])
    columns = ["labels per class", *NETWORKS, "gain of fine-tuning, 95% interval"]
    return f"{markdown_table(columns, rows)}\n\n{SEEDS} seeds, mean ± standard deviation; 797 test images; {machine()}"


def by_labels(
    results: Results, labels: Sequence[int], seeds: int, one: Callable[[int, int], Any]
) -> dict[int, list[Any]]:
    """Returns the result of `one` for each number of labels per class and each seed."""
    return {
        count: [results.measured(f"{count} labels, seed {seed}", partial(one, count, seed)) for seed in range(seeds)]
        for count in labels
    }


def one(root: Path, labels: int, seed: int) -> dict[str, float]:
    """Returns the test accuracy of each candidate, in percent."""
    pretrained = ROOT / "data" / "backbone" / "resnet10-glyphs.safetensors"
    study = Study(root / "study", root / "raw", pretrained, {"seed": seed})
    study.forget()
    study.run("ingest")
    study.use(drawn(study.manifest(), labels, seed))
    study.run("augment", "features", "head", "finetune", "evaluate")
    return study.accuracies()


def drawn(manifest: pd.DataFrame, labels: int, seed: int) -> pd.DataFrame:
    """Returns the manifest with `labels` images of each digit in train, drawn from train and unlabeled."""
    truth = {f"{number:04d}": str(digit) for _, digit, _, number in digits()}
    true = manifest[Column.PATH].map(lambda path: truth[Path(path).stem])
    pool = manifest[Column.SPLIT].isin([Split.TRAIN, Split.UNLABELED])
    random = np.random.default_rng(seed)
    chosen = np.concatenate(
        [random.permutation(manifest.index[pool & (true == str(digit))])[:labels] for digit in range(10)]
    )
    manifest.loc[pool, [Column.SPLIT, Column.LABEL]] = [Split.UNLABELED.value, None]
    manifest.loc[chosen, Column.SPLIT] = Split.TRAIN.value
    manifest.loc[chosen, Column.LABEL] = true[chosen]
    return manifest


def draw(accuracies: dict[int, list[dict[str, float]]]) -> None:
    """Plots accuracy over labels, with a line per candidate and standard deviations."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.6))
    for name in NETWORKS:
        values = np.array([[seed[name] for seed in seeds] for seeds in accuracies.values()])
        axes.errorbar(
            list(accuracies),
            values.mean(1),
            values.std(1, ddof=1),
            label=name,
            color=COLORS[name],
            capsize=3,
            marker="o",
        )
    axes.set(
        xscale="log",
        xticks=list(accuracies),
        xticklabels=list(accuracies),
        xlabel="labeled digits per class",
        ylabel="test accuracy, %",
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False)
    PICTURES.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURES / "few_labels.png", dpi=110, bbox_inches="tight", metadata={"Software": "rootstock"})
