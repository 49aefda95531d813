"""A growing dense head vs. one that is wide from the start: digits with 5, 20 and 80 labels per class, 5 seeds."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pandas as pd
import torch

from tasks.core.schema import LABELED_SPLITS, Column, Split
from tasks.core.target import encode_classes
from tasks.data.manifest import class_names
from tasks.embedded.digits import render
from tasks.embedding.matrix import read_features
from tasks.models.weights_file import read
from tasks.reports.page import markdown_table
from tasks.scorer.heads import build_head
from tests.benchmarks.few_labels import by_labels, drawn
from tests.benchmarks.results import Results, machine, mean_interval, spread
from tests.benchmarks.study import Study
from tests.project import ROOT

LABELS = (5, 20, 80)
SEEDS = 5
WIDTHS = {"1,024 units from the start": [], "grown by 16, 64, 256, 1,024": [16, 64, 256]}
HEAD = {"head.kind": "dense", "head.strengths": [0.01]}


def run(results: Results) -> str:
    """Returns the benchmark's table."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        render(root / "raw")
        scores = by_labels(results, LABELS, SEEDS, lambda labels, seed: one(root, labels, seed))
    rows = []
    for labels, seeds in scores.items():
        for name in WIDTHS:
            gap, test, width = ([seed[name][place] for seed in seeds] for place in range(3))
            rows.append([labels, name, spread(gap), spread(test), spread(width, 0)])
        wide, grown = ([seed[name][1] for seed in seeds] for name in WIDTHS)
        gain, half = mean_interval([g - w for g, w in zip(grown, wide, strict=True)])
        rows.append([labels, "difference, 95% interval", "", f"{gain:+.1f} ± {half:.1f}", ""])
    columns = ["labels per class", "head", "train - validation accuracy", "test accuracy", "units kept"]
    return f"{markdown_table(columns, rows)}\n\n{SEEDS} seeds; {machine()}"


def one(root: Path, labels: int, seed: int) -> dict[str, tuple[float, float, int]]:
    """Returns each head's gap between train and validation and its test accuracy, in percent, and its width."""
    pretrained = ROOT / "data" / "backbone" / "resnet10-glyphs.safetensors"
    study = Study(root / "study", root / "raw", pretrained, {**HEAD, "seed": seed})
    study.forget()
    study.run("ingest")
    study.use(drawn(study.manifest(), labels, seed))
    study.run("augment", "features")
    scores = {}
    for name, widths in WIDTHS.items():
        study.change({"head.grow": widths})
        study.run("head")
        at = accuracies(study)
        scores[name] = (at[Split.TRAIN] - at[Split.VALIDATION], at[Split.TEST], at["units"])
    return scores


def accuracies(study: Study) -> dict[str, float]:
    """Returns the head's accuracy on the clean images of each split, in percent, and its number of hidden units."""
    state, settings = read(study.paths.head_weights)
    index = pd.read_parquet(study.paths.index)
    x_ND = torch.cat([part for part, _ in read_features(study.paths)])
    classes = class_names(index)
    head = build_head(x_ND.shape[1], len(classes), **settings)
    head.load_state_dict(state)
    with torch.inference_mode():
        hit_N = head(x_ND).argmax(1).numpy() == encode_classes(index, tuple(classes))
    clean = index[Column.VIEW] == 0
    scores = {split: 100 * hit_N[clean & (index[Column.SPLIT] == split)].mean() for split in LABELED_SPLITS}
    return {**scores, "units": settings["hidden"]}
