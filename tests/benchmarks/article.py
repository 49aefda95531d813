"""The article's recipe, in one real run each: VGG16 with random weights on digits, and MobileNetV2 on ants and bees.

No model hub is reachable where this is measured, so VGG16 has nothing to transfer: a worst case, and a slow one.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from ruamel.yaml import YAML

from tasks.core.schema import Candidate
from tasks.embedded.digits import render
from tasks.models.weights_file import write
from tasks.reports.page import markdown_table
from tasks.scorer.architectures import build_backbone
from tests.benchmarks.hymenoptera import CHANGES
from tests.benchmarks.results import Results, assets_folder, machine
from tests.benchmarks.study import Study
from tests.project import ROOT

SHORT = {"scratch.run": False, "evaluate.corrupted": 0, "finetune.epochs": 10}
IMAGENET = {"resize": 256, "crop": 224, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def run(results: Results) -> str:
    """Returns the benchmark's table."""
    preset = YAML(typ="safe").load(ROOT / "params.yaml")["presets"]["article"]
    assets = assets_folder()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        render(root / "digits")
        torch.manual_seed(0)
        preprocessing = {**IMAGENET, "interpolation": "bilinear"}
        write(root / "vgg16", build_backbone("vgg16", "classifier")[0].state_dict(), {"preprocessing": preprocessing})
        cases = {
            "hymenoptera, MobileNetV2 in VGG16's place": (
                assets / "hymenoptera",
                assets / "weights" / "mobilenet_v2.pth",
                {**preset, **CHANGES},
            ),
            "digits, VGG16 with random weights, 224 px": (root / "digits", root / "vgg16", preset),
        }
        rows = [[name, *results.measured(name, lambda: one(root / "study", *case))] for name, case in cases.items()]
    columns = ["", "frozen + head, %", "fine-tuned, %", "seconds of all stages"]
    return f"{markdown_table(columns, rows)}\n\none run each, ten epochs; {machine()}"


def one(root: Path, raw: Path, pretrained: Path, changes: dict[str, object]) -> list[float]:
    """Returns the test accuracies and the stages' duration in seconds."""
    study = Study(root, raw, pretrained, {**changes, **SHORT})
    study.forget()
    seconds = study.run("ingest", "validate", "augment", "features", "head", "finetune", "evaluate")
    accuracies = study.accuracies()
    return [round(accuracies[Candidate.PROBE], 1), round(accuracies[Candidate.TUNED], 1), round(seconds)]
