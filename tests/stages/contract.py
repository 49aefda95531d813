"""Each stage as a function with small parameters that tests can change, on drawn images with a tiny backbone."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from tasks.augment import AugmentParams, augment
from tasks.evaluate import EvaluateParams, evaluate
from tasks.features import FeaturesParams, features
from tasks.finetune import FinetuneParams, finetune
from tasks.head import HeadParams, head
from tasks.ingest import IngestParams, ingest
from tasks.validate import ValidateParams, validate
from tests import session
from tests.conftest import CPU, TINY

AUGMENT = {"views": 3, "shift": 0.1, "scale": 0.1, "flip": False, "colour": 0.2, "fill": "edge", "check": True}
AUGMENT |= {"rotation": 0.0, "erase": 0.0, "automatic": "none"}
FINETUNE = {
    "recipe": "fixed",
    "budget": 20,
    "interpolation": [],
    "blocks": 1,
    "epochs": 3,
    "batch": 8,
    "rate": 1e-3,
    "head_rate": 1e-3,
    "decay": 0.5,
    "weight_decay": 0.01,
    "warmup": 0.1,
    "patience": 9,
    "batchnorm": "frozen",
    "layers": None,
    "unfreeze": 0,
    "parts": 1,
    "clip": 0.0,
    "average": 0.0,
    "dropout": None,
    "stochastic_depth": None,
    "smoothing": 0.0,
    "mixup": 0.0,
    "cutmix": 0.0,
    "processes": 1,
    "cache": 1.0,
    "compile": False,
}
BACKBONE = {
    **TINY,
    "weights": "tiny.pth",
    "match": "strict",
    "cut": "layer",
    "letterbox": False,
    "candidates": {},
    "download": False,
}
DECODING = {"data.max_pixels": 100_000_000, "data.background": "white", "data.white_level": None}


@pytest.fixture(autouse=True)
def _pinned(tmp_path, monkeypatch):
    """Writes pins to the root of the project, in which stages run."""
    (tmp_path / "data").mkdir(exist_ok=True)
    (tmp_path / "data" / "pins.json").write_text('{"choice": null, "heif": null, "init": null}')
    monkeypatch.chdir(tmp_path)


def ingested(paths, **changes):
    return ingest(paths, IngestParams(ingest={"classes": "auto", "validation": 0.2, "test": 0.2}, **DECODING | changes))


def validated(paths, **changes):
    return validate(paths, ValidateParams(validate={"min_side": 8, "max_unreadable": 0.0, **changes}))


def augmented(paths, seed=0, **changes):
    return augment(paths, AugmentParams(seed=seed, backbone=BACKBONE, compute=CPU, augment={**AUGMENT, **changes}))


def embedded(paths, views=2, compiled_from=0, **changes):
    section = {"views": views, "store": 1.0, "compile": compiled_from}
    return features(paths, FeaturesParams(backbone=BACKBONE, compute={**CPU, **changes}, features=section))


HEAD = {"kind": "linear", "strengths": [0.001, 0.01, 0.1], "hidden": 8, "rate": 0.01, "epochs": 20, "batch": 8}
HEAD |= {"neighbours": [1, 3], "start": "zero", "grow": []}


def headed(paths, balance="none", **changes):
    return head(paths, HeadParams(**{"compute.device": "cpu"}, seed=0, balance=balance, head={**HEAD, **changes}))


NOBODY = {"architecture": None, "weights": None, "resize": None, "crop": None}
METHODS = {
    "distillation": {"temperature": 4.0, "labels": 0.1, "features": 0.0, "margin": 0.005, "agreement": 0.98},
    "unlabelled": {
        "threshold": 0.6,
        "adaptive": False,
        "align": False,
        "neighbours": 0,
        "search": "exact",
        "rounds": 1,
        "quota": 0,
        "precision": 0.5,
        "ratio": 1.0,
        "weight": 1.0,
    }
    | {"strong": "rand", "stronger": 1.5},
    "domain": {"weights": [1.0], "chosen_by": "information", "oracle": False},
    "adversaries": {"norm": "linf", "radius": 0.03, "steps": 2, "grow": 0, "beta": 6.0, "clean": 1.0},
}


def tuned(paths, scratch=True, balance="none", objective="labels", teacher=NOBODY, methods=METHODS, **changes):
    params = {"seed": 0, "balance": balance, "backbone": BACKBONE, "compute": CPU, "finetune": {**FINETUNE, **changes}}
    params |= {"objective": objective, "teacher": teacher, "scratch": {"run": scratch, "rate": 1e-3}, **methods}
    return finetune(paths, FinetuneParams(**params))


CORRUPTIONS = {"shift": [0.1], "scale": [0.8], "flip": [1], "rotation": [9], "noise": [0.1], "blur": [0.02]}
CORRUPTIONS |= {"jpeg": [50, 10]}
EVALUATE = {"bins": 10, "wrong": 5, "risk": 0.1, "slices": [], "corrupted": 6, "attacked": 0}


def evaluated(paths, objective="labels", teacher=NOBODY, **changes):
    section = {**EVALUATE, "corruptions": CORRUPTIONS, **changes}
    params = {"seed": 0, "objective": objective, "backbone": BACKBONE, "teacher": teacher, "compute": CPU}
    return evaluate(paths, EvaluateParams(**params, adversaries=METHODS["adversaries"], evaluate=section))


def through_head(paths):
    """Writes the outputs of the stages up to the head, which one worker computes once for each set of images."""
    images = [(str(file.relative_to(paths.raw)), file.read_bytes()) for file in sorted(paths.raw.rglob("*.*"))]
    key = f"headed-{hashlib.sha256(repr(images).encode()).hexdigest()[:16]}"
    folders = {name: getattr(paths, name) for name in ("ingest", "augment", "features", "head", "state")}

    def build() -> str:
        ingested(paths), augmented(paths), embedded(paths), headed(paths)
        for name, folder in folders.items():
            shutil.copytree(folder, session.FOLDER / key / name)
        return str(session.FOLDER / key)

    kept = Path(session.once(key, build))
    for name, folder in folders.items():
        shutil.copytree(kept / name, folder, dirs_exist_ok=True)
