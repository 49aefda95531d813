"""ResNet-50 on a GPU: fine-tuning vs. the same loop on preloaded batches, and extraction vs. the forward pass."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tasks.images.transforms import RenderStyle
from tasks.models.weights_file import write
from tasks.reports.page import markdown_table
from tasks.scorer.architectures import build_backbone
from tasks.training.batches import Batches
from tasks.training.types import Batch
from tests.benchmarks.extraction import WAYS, ours
from tests.benchmarks.increment import draw
from tests.benchmarks.results import NoAssetsError, Results, spread
from tests.benchmarks.study import Study

ROUNDS = 5
IMAGES, BATCH, EPOCHS = 8192, 128, 3
CHANGES = {
    "backbone.architecture": "resnet50",
    "features.views": 0,
    "head.strengths": [1.0],
    "finetune.blocks": 99,
    "finetune.decay": 1.0,
    "finetune.batchnorm": "training",
    "finetune.cache": 0.0,
    "finetune.patience": 99,
    "scratch.run": False,
}


def run(results: Results) -> str:
    """Returns the benchmark's tables. Raises NoAssetsError without a GPU."""
    if not torch.cuda.is_available():
        raise NoAssetsError("it needs a GPU that CUDA knows")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        draw(root / "raw", range(IMAGES))
        study = begun(root, "cuda", BATCH, EPOCHS)
        tunings = [results.measured(f"tuning {n}", lambda: tuning(study)) for n in range(ROUNDS)]
        raw = root / "raw"
        rates_by_way = {
            way: [
                results.measured(f"{way} {n}", lambda: ours(raw, "resnet50", way, "cuda", 256)) for n in range(ROUNDS)
            ]
            for way in WAYS
        }
    real, synthetic = zip(*tunings, strict=True)
    shares = [100 * rate / limit for rate, limit in tunings]
    rows = [["fine-tuning, all blocks", spread(real, 0), spread(synthetic, 0), spread(shares, 0)]]
    for way, rates in rates_by_way.items():
        whole, _, forward = zip(*rates, strict=True)
        shares = [100 * rate / limit for rate, limit in zip(whole, forward, strict=True)]
        rows.append([f"extraction, {way}", spread(whole, 0), spread(forward, 0), spread(shares, 0)])
    columns = ["ResNet-50, bfloat16", "images/s from files", "on the device alone", "%"]
    return f"{markdown_table(columns, rows)}\n\n{IMAGES} JPEG files of 320 pixels; {torch.cuda.get_device_name()}"


def begun(root: Path, device: str, batch: int, epochs: int) -> Study:
    """Runs the stages up to the head on the images in `raw`. Returns the study."""
    weights = root / "resnet50.safetensors"
    write(weights, build_backbone("resnet50")[0].state_dict())
    sizes = {"compute.batch": batch, "finetune.batch": batch, "finetune.epochs": epochs, "augment.views": epochs}
    how: dict[str, Any] = {**CHANGES, **sizes, "compute.device": device, "compute.precision": "bfloat16"}
    study = Study(root / "study", root / "raw", weights, how)
    study.run("ingest", "augment", "features", "head")
    return study


def tuning(study: Study) -> list[float]:
    """Returns images per second of fine-tuning, including validation: from files, and with preloaded batches."""
    seconds = []
    for feed in (nullcontext, on_the_device):
        with feed():
            study.run("finetune")
        seconds.append(study.reports["finetune"].seconds_tuned)
    return [study.reports["finetune"].steps * study.document["finetune"]["batch"] / duration for duration in seconds]


@contextmanager
def on_the_device() -> Iterator[None]:
    """Repeats the first batch of each size in place of rendering new batches."""
    made, there = Batches.render, dict[int, Tensor]()

    def render(
        self: Batches, parts: Iterable[tuple[Tensor, Tensor]], style: RenderStyle, number: int
    ) -> Iterator[Batch]:
        for part, drawn in parts:
            if len(part) not in there:
                there[len(part)] = next(made(self, [(part, drawn)], style, number)).inputs
            yield self.labeled(there[len(part)], part, number)

    Batches.render = render  # type: ignore[method-assign]
    try:
        yield
    finally:
        Batches.render = made  # type: ignore[method-assign]
