"""The frozen prefix, computed once or in each epoch: the last blocks of MobileNetV2 and ResNet-50, ten epochs."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np

from tasks.core.schema import Curve
from tasks.models.weights_file import write
from tasks.reports.page import markdown_table
from tasks.scorer.architectures import build_backbone
from tests.benchmarks.hymenoptera import CHANGES
from tests.benchmarks.results import Results, assets_folder, machine, middle
from tests.benchmarks.study import Study

ROUNDS = 5
PRECISIONS = ("bfloat16", "float32")
BLOCKS = {"mobilenet_v2": 2, "resnet50": 1}
FIT = {"augment.views": 2, "finetune.epochs": 10, "finetune.patience": 99, "scratch.run": False}


def run(results: Results) -> str:
    """Returns the benchmark's table."""
    assets, rows = assets_folder(), []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write(root / "resnet50.safetensors", build_backbone("resnet50")[0].state_dict())
        files = {"mobilenet_v2": assets / "weights" / "mobilenet_v2.pth", "resnet50": root / "resnet50.safetensors"}
        for name, blocks in BLOCKS.items():
            for precision in PRECISIONS:
                changes = {
                    **CHANGES,
                    **FIT,
                    "backbone.architecture": name,
                    "finetune.blocks": blocks,
                    "compute.precision": precision,
                }
                study = Study(root / f"{name}-{precision}", assets / "hymenoptera", files[name], changes)
                pairs = [
                    results.measured(f"{name}, {precision}, {number}", lambda: pair(study)) for number in range(ROUNDS)
                ]
                plain, cached, apart = (np.array([values[place] for values in pairs]) for place in range(3))
                ratio = [p / c for p, c in zip(plain, cached, strict=True)]
                rows.append(
                    [name, blocks, precision, middle(plain), middle(cached), middle(ratio, 2), f"{apart.max():.1e}"]
                )
    columns = ["", "blocks that learn", "", "each epoch, s", "once, s", "ratio", "largest difference of a loss"]
    return f"{markdown_table(columns, rows)}\n\n10 epochs over 2 views of 195 photographs, 49 validate; {machine()}"


def pair(study: Study) -> tuple[float, float, float]:
    """Returns the stage's seconds without and with cached activations, and the largest difference between losses."""
    if not study.paths.head_weights.exists():
        study.run("ingest", "augment", "features", "head")
    seconds, losses = [], []
    for gib in (0.0, 8.0):
        study.change({"finetune.cache": gib})
        seconds.append(study.run("finetune"))
        rows = [json.loads(line) for line in study.paths.curves.read_text().splitlines()]
        losses.append(np.array([[row[Curve.VALIDATION_LOSS], row.get(Curve.TRAIN_LOSS, 0.0)] for row in rows]))
    return seconds[0], seconds[1], float(np.abs(losses[0] - losses[1]).max())
