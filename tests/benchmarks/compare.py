"""make compare on four data sets: the large model, its student, and models that learn without a teacher; 3 seeds."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
from ruamel.yaml import YAML

from tasks.core.schema import Column, Split
from tests.benchmarks.results import FOLDER, PICTURES, Results, assets_folder, code, machine
from tests.benchmarks.sets import ingested, some, unpacked
from tests.project import Project, environment

SEEDS = [0, 1, 2]
IMAGES = {"train": 40, "val": 20, "unlabelled": 100, "test": 50}  # per class
WIDE = {"finetune.recipe": "fixed", "finetune.patience": 99, "augment.shift": 0.1}
BIG = {**WIDE, "backbone.architecture": "mobilenet_v2", "backbone.resize": 96, "backbone.crop": 96}
NEW = {**WIDE, "backbone.weights": "random", "backbone.resize": 48, "backbone.crop": 48, "features.views": 0}
NEW |= {"finetune.blocks": 99, "finetune.batchnorm": "training", "finetune.rate": 0.002, "finetune.head_rate": 0.002}
NEW |= {"head.strengths": [1.0e9], "augment.views": 8}
PHOTOGRAPHS = {"augment.flip": True, "augment.fill": "mirror"}


def run(results: Results) -> str:
    """Returns the table that the command prints, and saves its plot."""
    text = results.measured("table", table)
    shutil.copy(project_folder() / ".state" / "compare" / "compare.png", PICTURES / "compare_sets.png")
    return f"{text}; {machine()}"


def project_folder() -> Path:
    """Returns the folder in which the comparison is computed and kept."""
    return FOLDER / f"compare-{code()}"


def table() -> str:
    """Runs the command in its own project, which is kept so that an interrupted comparison resumes."""
    root = project_folder()
    assets, sources = assets_folder(), root.with_name(f"{root.name}-data")
    if not root.exists():
        Project.fresh(root.with_name(f".{root.name}"), None).root.rename(root)
    project = Project(root)
    write_params(root / "params.yaml", data_sets(sources, assets), models(assets / "weights" / "mobilenet_v2.pth"))
    command = [sys.executable, "-m", "flows", "compare"]
    done = subprocess.run(
        command, cwd=root, env=environment(**project.more), check=False, stdout=subprocess.PIPE, text=True
    )
    assert done.returncode == 0, done.stdout
    return (root / ".state" / "compare" / "compare.md").read_text()


def models(weights: Path) -> dict[str, dict[str, Any]]:
    """Returns the models to compare."""
    big = {**BIG, "backbone.weights": str(weights)}
    taught = {"objective": "distillation", "teacher.weights": "compare:big, fine-tuned", "distillation.agreement": 1.0}
    return {
        "big, fine-tuned": {**big, "finetune.epochs": 10},
        "big, frozen + linear": {**big, "finetune.epochs": 0},
        "embedded backbone, fine-tuned": {**WIDE, "finetune.epochs": 10},
        "new, from scratch": {**NEW, "finetune.epochs": 40},
        "new, taught by the big one": {**NEW, **taught, "finetune.epochs": 12},
    }


def data_sets(folder: Path, assets: Path) -> dict[str, dict[str, Any]]:
    """Returns the location of each data set, and the augmentation that its images allow."""
    digits = unpacked(folder / "digits", "digits_mnist_usps.tar.gz")
    objects = unpacked(folder / "cifar", "cifar10_jpg.tar.gz") / "cifar10_jpg"
    return {
        "digits": {"data.source": "digits"},
        "USPS": {"data.source": str(part(folder, digits / "usps"))},
        "ants and bees": {"data.source": str(assets / "hymenoptera"), **PHOTOGRAPHS},
        "CIFAR-10": {"data.source": str(part(folder, objects)), **PHOTOGRAPHS},
    }


def part(folder: Path, raw: Path) -> Path:
    """Writes some images of each class to the folders of their splits; unlabeled images share one folder."""
    target = folder / f"some-{raw.name}"
    if target.exists():
        return target
    manifest = ingested(folder, raw)
    rest = manifest[manifest[Column.SPLIT] != Split.TEST]
    drawn = {"test": some(manifest[manifest[Column.SPLIT] == Split.TEST], IMAGES["test"], 0)}
    for split in ("train", "val", "unlabelled"):
        drawn[split] = some(rest, IMAGES[split], 0)
        rest = rest.drop(drawn[split].index)
    beside = target.with_name(f".{target.name}")
    for split, rows in drawn.items():
        copy(raw, rows, beside / split, labeled=split != "unlabelled")
    return beside.rename(target)


def copy(raw: Path, rows: pd.DataFrame, target: Path, *, labeled: bool) -> None:
    """Copies images to the folder of their class, or all to one folder."""
    for path, label in rows[[Column.PATH, Column.LABEL]].itertuples(index=False):
        place = target / (label if labeled else "") / str(path).replace("/", "-")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(raw / path, place)


def write_params(file: Path, data: dict[str, Any], compared: dict[str, Any]) -> None:
    """Writes a params.yaml with this comparison."""
    yaml = YAML()
    document = yaml.load(file)
    document["compare"] = {"seeds": SEEDS, "against": next(iter(compared)), "data": data, "models": compared}
    with file.open("w") as out:
        yaml.dump(document, out)
