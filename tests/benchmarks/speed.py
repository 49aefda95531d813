"""Rootstock compared with its peers: cold processes from raw files to a model, and features from files.

Peers run in a separate environment (.state/peers/bench, created once, with the same torch). Each round runs all
of them one after another; ratios are taken within a round.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torchvision
from ruamel.yaml import YAML

from tasks.core.schema import VALUE, Candidate, Metric
from tasks.models.weights_file import write
from tasks.reports.page import markdown_table
from tests.benchmarks.drawing import bars
from tests.benchmarks.hymenoptera import whole
from tests.benchmarks.results import Results, assets_folder, machine, middle, spread
from tests.candidates import write_chosen
from tests.project import ROOT

ROUNDS = 5
LIMITED = f", {isa}" if (isa := os.environ.get("ONEDNN_MAX_CPU_ISA")) else ""  # limited to older instructions
TARGET_ACCURACY = 0.925  # on the test images
PEERS = ROOT / ".state" / "peers"
SCRIPTS = Path(__file__).parent / "peers"
HYMENOPTERA = {
    "backbone.architecture": "mobilenet_v2",
    "augment.flip": True,
    "augment.fill": "mirror",
    "evaluate.corrupted": 0,
    "scratch.run": False,
}

QUICK = {"features.views": 0, "finetune.epochs": 8}
PROBE = ("ingest", "augment", "features", "head")
LP_FT = (*PROBE, "finetune")


def run(results: Results) -> str:
    """Returns the benchmark's tables."""
    assets, python = assets_folder(), environment_of_peers()
    with tempfile.TemporaryDirectory() as folder:
        rounds = [
            results.measured(f"round {n}{LIMITED}", lambda n=n: trained(Path(folder) / str(n), assets, python))
            for n in range(ROUNDS)
        ]
    settings = {**HYMENOPTERA, **QUICK}
    flows = [
        results.measured(f"flow {n}{LIMITED}", lambda: whole(assets, settings, served=True)) for n in range(len(rounds))
    ]
    served = f"LP-FT as make run, on a running server, evaluated and registered: {spread(flows)} s"
    return f"{training(rounds)}\n\n{served}\n\nants and bees, MobileNetV2, {len(rounds)} rounds{LIMITED}; {machine()}"


def training(rounds: list[dict[str, list[float]]]) -> str:
    """Returns each one's median seconds, mean accuracy, and duration relative to ours: some need many epochs."""
    taken = {
        f"Rootstock, {name}" if name.startswith(OURS) else name: [result[name][0] for result in rounds]
        for name in rounds[0]
    }
    if not LIMITED:
        bars("speed", {"ants and bees, MobileNetV2": taken}, "seconds, cold, from raw files to a model", high=None)
    rows = []
    for name in rounds[0]:
        seconds, accuracy = (np.array([result[name][place] for result in rounds]) for place in (0, 1))
        ratios = [f"{np.median([result[name][0] / result[ours][0] for result in rounds]):.1f}" for ours in OURS]
        rows.append([name, middle(seconds), spread(100 * accuracy, 1), *ratios])
    return markdown_table(["", "seconds, cold", "test accuracy, %", *(f"seconds / {name}" for name in OURS)], rows)


OURS = ("probe", "LP-FT")


def trained(folder: Path, assets: Path, python: Path) -> dict[str, list[float]]:
    """Returns each one's seconds and test accuracy, measured one after another, each in a cold process."""
    data, weights = assets / "hymenoptera", assets / "weights" / "mobilenet_v2.pth"
    arguments = [str(data), str(weights), str(TARGET_ACCURACY)]
    home = folder / "torch" / "hub" / "checkpoints"
    home.mkdir(parents=True)
    for name in ("mobilenet_v2-7ebf99e0.pth", "mobilenet_v2-b0353104.pth"):  # the file names that torchvision looks for
        (home / name).symlink_to(weights)
    env = {**os.environ, "TORCH_HOME": str(folder / "torch"), "HF_HUB_OFFLINE": "1"}
    timings = {
        "probe": ours(folder / "probe", data, weights, PROBE, **QUICK),
        "LP-FT": ours(folder / "lp-ft", data, weights, LP_FT, **QUICK),
        "probe, two views more": ours(folder / "views", data, weights, PROBE),
    }
    for name, script in (
        ("fastai, fine_tune(4)", "fastai_fine_tune.py"),
        ("torchvision tutorial, frozen", "classic.py"),
        ("Hugging Face Trainer, whole net", "huggingface.py"),
    ):
        started = time.perf_counter()
        printed = output([str(python), str(SCRIPTS / script), *arguments], env=env, cwd=folder)
        timings[name] = [time.perf_counter() - started, float(printed.split()[-1])]
    return timings


def ours(root: Path, raw: Path, weights: Path, stages: tuple[str, ...], **changes: object) -> list[float]:
    """Returns the seconds of `python -m tasks` for these stages in one cold process, and the test accuracy, untimed."""
    (root / "data").mkdir(parents=True)
    (root / "data" / "raw").symlink_to(raw)
    architecture = str({**HYMENOPTERA, **changes}["backbone.architecture"])
    write_chosen(root / "data" / "choose", weights, architecture, 224)
    write(root / "data" / "teacher.weights", {})
    (root / "data" / "pins.json").write_text('{"choice": null, "init": null}')
    blocks = {} if "finetune" in stages else {"finetune.epochs": 0}
    write_params(root / "params.yaml", {**HYMENOPTERA, **changes, **blocks})
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    started = time.perf_counter()
    output([sys.executable, "-m", "tasks", *stages], env=env, cwd=root)
    seconds = time.perf_counter() - started
    output([sys.executable, "-m", "tasks", "finetune", "evaluate"], env=env, cwd=root)
    scored = pd.read_json(root / "data" / "evaluate" / "metrics.json")
    kept = Candidate.TUNED if "finetune" in stages else Candidate.PROBE
    return [seconds, scored[kept][Metric.ACCURACY][VALUE]]


def write_params(file: Path, changes: dict[str, Any]) -> None:
    """Writes a params.yaml with these values."""
    yaml = YAML()
    document = yaml.load(ROOT / "params.yaml")
    for name, value in changes.items():
        *sections, key = name.split(".")
        node = document
        for section in sections:
            node = node[section]
        node[key] = value
    with file.open("w") as out:
        yaml.dump(document, out)


def output(command: list[str], **how: Any) -> str:
    """Returns a command's output. Raises AssertionError with all of its output if it fails."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, **how)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def environment_of_peers(group: str = "bench") -> Path:
    """Returns the Python of an environment created with this dependency group and our version of torch."""
    folder = PEERS / group
    python = folder / "bin" / "python"
    if not python.exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run(["uv", "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
        torch_pins = [f"torch=={public(torch)}", f"torchvision=={public(torchvision)}"]
        command = ["uv", "pip", "install", "--quiet", "--python", str(python), "--group", group, *torch_pins]
        subprocess.run(command, cwd=ROOT, check=True)
    return python


def public(module: Any) -> str:
    """Returns a package's version without its build tag."""
    return str(module.__version__).partition("+")[0]
