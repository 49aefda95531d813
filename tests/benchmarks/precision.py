"""bfloat16 vs. float32 features: their cosine similarity per image, and whether probes trained on them agree."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from tasks.core.schema import Column, Split
from tasks.embedded.digits import render
from tasks.embedding.matrix import read_features
from tasks.models.weights_file import read
from tasks.reports.page import markdown_table
from tests.benchmarks.hymenoptera import CHANGES
from tests.benchmarks.results import Results, assets_folder, machine
from tests.benchmarks.study import Study
from tests.project import ROOT

PRECISIONS = ("float32", "bfloat16")


def run(results: Results) -> str:
    """Returns the benchmark's table."""
    assets = assets_folder()
    with tempfile.TemporaryDirectory() as folder:
        render(Path(folder) / "digits")
        embedded = ROOT / "data" / "backbone" / "resnet10-glyphs.safetensors"
        cases = {
            "digits, embedded ResNet-10": (Path(folder) / "digits", embedded, {}),
            "hymenoptera, MobileNetV2": (assets / "hymenoptera", assets / "weights" / "mobilenet_v2.pth", CHANGES),
        }
        rows = [[name, *results.measured(name, lambda: compared(Path(folder), *case))] for name, case in cases.items()]
    columns = [
        "",
        "cosine, 1st percentile",
        "cosine, least",
        "answers that agree, %",
        "test images",
        "images/s, float32 to bfloat16",
    ]
    return f"{markdown_table(columns, rows)}\n\n{machine()}"


def compared(root: Path, raw: Path, pretrained: Path, changes: dict[str, object]) -> list[object]:
    """Returns 1st percentile and minimum of the cosine, the probes' test agreement, the test size, and images/s."""
    features, answers, rates = {}, {}, []
    for precision in PRECISIONS:
        study = Study(root / precision, raw, pretrained, {**changes, "compute.precision": precision})
        study.forget()
        study.run("ingest", "augment")
        seconds = study.run("features")
        study.run("head")
        index, head = pd.read_parquet(study.paths.index), read(study.paths.head_weights)[0]
        x_ND = torch.cat([part for part, _ in read_features(study.paths)])
        features[precision] = x_ND
        test = torch.tensor((index[Column.SPLIT] == Split.TEST).to_numpy())
        answers[precision] = (x_ND[test] @ head["weight"].T + head["bias"]).argmax(1)
        rates.append(len(x_ND) / seconds)
    cosine = torch.nn.functional.cosine_similarity(*features.values()).numpy()
    agree = (answers["float32"] == answers["bfloat16"]).double().mean().item()
    speed = " to ".join(f"{rate:.0f}" for rate in rates)
    return [
        f"{np.quantile(cosine, 0.01):.5f}",
        f"{cosine.min():.5f}",
        f"{100 * agree:.1f}",
        len(answers["float32"]),
        speed,
    ]
