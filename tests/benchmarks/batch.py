"""Batch prediction: its rate compared with float32 feature extraction, its memory, and its output after kills.

Images are the digits, enlarged to 96 pixels and stored as JPEG, so that the cost of decoding is realistic.
"""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from tasks.embedded.digits import digits
from tasks.reports.page import markdown_table
from tests.benchmarks.results import Results, machine, spread
from tests.project import Project, environment

SCORE = """
import re, sys, time
from pathlib import Path
from tasks.evaluation.batch_prediction import score_parts
from tasks.evaluation.prediction_tables import merge
from tasks.core.target import TargetKind
from tasks.data.image_files import find
from tasks.hardware.heap import reuse_freed_memory
from tasks.scorer.answer import Scorer
reuse_freed_memory()
root, files, out = Path(sys.argv[1]), find(Path(sys.argv[1]))[0][: int(sys.argv[2])], Path(sys.argv[3])
scorer = Scorer.load(Path("data/evaluate/spec.json"), Path("data/finetune/model.safetensors"))
list(score_parts(scorer, TargetKind.CLASSIFICATION, root, files[:64], out / "warm"))
started = time.perf_counter()
list(score_parts(scorer, TargetKind.CLASSIFICATION, root, files, out / "parts"))
merge(out / "parts", out / "a.parquet", out / "a.csv")
rate = len(files) / (time.perf_counter() - started)
print(rate, int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024)
"""
EXTRACT = """
import sys, time
from pathlib import Path
from tasks.models.backbone import build
from tasks.hardware.device import choose
from tasks.embedding.spreading import extract
from tasks.data.image_files import find
from tasks.images.transforms import RenderStyle
from tasks.models.weights_file import read
root, files = Path(sys.argv[1]), find(Path(sys.argv[1]))[0][: int(sys.argv[2])]
backbone = build("resnet10", *read(Path("data/choose/backbone.weights")), None, None).folded()
device = choose("cpu", "float32")
list(extract(root, files[:64], backbone, device, RenderStyle(), 64))
started = time.perf_counter()
list(extract(root, files, backbone, device, RenderStyle(), 64))
print(len(files) / (time.perf_counter() - started))
"""


def run(results: Results) -> str:
    """Returns the benchmark's table."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        project = Project.fresh(root / "project", None)
        assert project.retrain("--finetune.epochs", "1", "--scratch.run", "false").returncode == 0
        pictures = draw(root / "pictures", 20_000)
        rates = [results.measured(f"rates, round {n}", lambda: rate(project, pictures, root)) for n in range(5)]
        small, large = (
            results.measured(f"memory, {count}", lambda: scored(project, pictures, count, root)[1])
            for count in (1000, 20_000)
        )
        same = results.measured("killed", lambda: killed(project, pictures, root))
    rows = [
        ["prediction, images/s", spread([predict for predict, _ in rates], 0)],
        ["feature extraction, images/s", spread([features for _, features in rates], 0)],
        ["ratio, %", spread([100 * predict / features for predict, features in rates], 0)],
        ["peak memory at 1,000 and 20,000 images, MiB", f"{small:.0f}, {large:.0f}"],
        ["killed five times, output equal to the undisturbed one", str(same)],
    ]
    return f"{markdown_table(['', ''], rows)}\n\n5 rounds of 3,000 images side by side, float32; {machine()}"


def draw(folder: Path, count: int) -> Path:
    """Writes `count` JPEG images of 96 pixels."""
    folder.mkdir()
    images = [Image.fromarray(image).resize((96, 96), Image.Resampling.BICUBIC) for image, *_ in digits()]
    for number in range(count):
        images[number % len(images)].save(folder / f"{number:05d}.jpg", quality=85 + number % 10)
    return folder


def rate(project: Project, pictures: Path, root: Path) -> tuple[float, float]:
    return scored(project, pictures, 3000, root)[0], ran(project, EXTRACT, pictures, 3000)[0]


def scored(project: Project, pictures: Path, count: int, root: Path) -> list[float]:
    """Returns images per second, and peak memory in MiB."""
    shutil.rmtree(root / "out", ignore_errors=True)
    return ran(project, SCORE, pictures, count, root / "out")


def ran(project: Project, code: str, *arguments: object) -> list[float]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, cwd=project.root, env=environment(), capture_output=True, text=True, check=True)
    return [float(word) for word in done.stdout.splitlines()[-1].split()]


def killed(project: Project, pictures: Path, root: Path) -> bool:
    """Returns whether a prediction killed five times at random ends with the same bytes as an undisturbed one."""
    some = root / "some"
    some.mkdir()
    for file in sorted(pictures.iterdir())[:6000]:
        shutil.copy(file, some)
    command = [sys.executable, "-m", "flows", "predict", str(some), "--model", "challenger", "--out"]
    random.seed(0)
    for _ in range(5):
        process = subprocess.Popen([*command, str(root / "cut")], cwd=project.root, env=environment(), stdout=-3)
        time.sleep(random.uniform(6, 14))
        process.send_signal(signal.SIGKILL)
        process.wait()
    for out in ("cut", "whole"):
        subprocess.run([*command, str(root / out)], cwd=project.root, env=environment(), stdout=-3, check=True)
    return (root / "cut" / "predictions.csv").read_bytes() == (root / "whole" / "predictions.csv").read_bytes()
