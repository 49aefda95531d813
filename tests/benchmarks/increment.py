"""The cost of adding 1% more images: 20,000 JPEG files of 320 pixels, ResNet-50, the stages up to features."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from tasks.embedded.digits import digits
from tasks.models.weights_file import write
from tasks.reports.page import markdown_table
from tasks.scorer.architectures import build_backbone
from tests.benchmarks.results import Results, machine, middle
from tests.benchmarks.study import Study

ROUNDS = 5
FIRST, MORE = 20_000, 200
STAGES = ("ingest", "validate", "augment", "features")
RETRAINED = "head"  # retrained on all features
CHANGES = {"backbone.architecture": "resnet50", "augment.views": 1, "features.views": 0}


def run(results: Results) -> str:
    """Returns the benchmark's table."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        rounds = [results.measured(f"round {number}", lambda: measured(root)) for number in range(ROUNDS)]
    seconds = np.array(rounds)  # (round, row, first and second time)
    rows = []
    for name, (first, second) in zip((*STAGES, "all of these", RETRAINED), seconds.transpose(1, 2, 0), strict=True):
        rows.append([name, middle(first), middle(second), middle(100 * second / first)])
    columns = ["", f"{FIRST:,} files, s", f"{MORE} more, s", "%"]
    return f"{markdown_table(columns, rows)}\n\n{ROUNDS} rounds, the stages' own seconds; {machine()}"


def measured(root: Path) -> list[list[float]]:
    """Returns the seconds of each stage, of all stages and of the head: the first time, and after files were added."""
    weights = root / "resnet50.safetensors"
    write(weights, build_backbone("resnet50")[0].state_dict())  # new in each round, to compile again
    if not (root / "raw").exists():
        draw(root / "raw", range(FIRST))
    study = Study(root / "study", root / "raw", weights, CHANGES)
    study.forget()
    first = [study.run(stage) for stage in (*STAGES, RETRAINED)]
    more = draw(root / "raw", range(FIRST, FIRST + MORE))
    second = [study.run(stage) for stage in (*STAGES, RETRAINED)]
    for file in more:
        file.unlink()
    *pairs, head = [list(pair) for pair in zip(first, second, strict=True)]
    return [*pairs, [sum(seconds[:-1]) for seconds in (first, second)], head]


def draw(folder: Path, numbers: range) -> list[Path]:
    """Writes enlarged digits, each on its own background, as JPEG files in a folder per digit."""
    samples, files = [(image, digit) for image, digit, *_ in digits()], []
    for number in numbers:
        image, digit = samples[number % len(samples)]
        ground = np.random.default_rng(number).integers(0, 90, (20, 20), np.uint8)
        large = [
            np.asarray(Image.fromarray(part).resize((320, 320), Image.Resampling.BICUBIC), np.int16)
            for part in (image, ground)
        ]
        target = folder / str(digit) / f"{number:05d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((large[0] + large[1]).clip(0, 255).astype(np.uint8)).save(target, quality=90)
        files.append(target)
    return files
