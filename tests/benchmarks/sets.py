"""The assets' data sets as folders and manifests, and untrained backbones."""

from __future__ import annotations

import tarfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from tasks.core.files import replacing
from tasks.core.schema import Column, Split
from tasks.models.backbone import torchvision_preprocessing
from tasks.models.weights_file import write
from tasks.scorer.architectures import BUILTIN_ARCHITECTURES, build_backbone
from tests.benchmarks.results import assets_folder
from tests.benchmarks.study import Study
from tests.project import ROOT

GLYPHS = ROOT / "data" / "backbone" / "resnet10-glyphs.safetensors"
# Only the tuned model's test accuracy is measured.
PLAIN = {"scratch.run": False, "evaluate.corrupted": 0}
WHOLE = {"finetune.blocks": 99, "finetune.batchnorm": "training", "finetune.decay": 1.0, "finetune.cache": 0.0}


def unpacked(folder: Path, archive: str) -> Path:
    """Unpacks an archive of the assets once. Returns its folder."""
    if not folder.exists():
        beside = folder.with_name(f".{folder.name}")
        with tarfile.open(assets_folder() / archive) as tar:
            tar.extractall(beside, filter="data")
        beside.rename(folder)
    return folder


def ingested(root: Path, raw: Path) -> pd.DataFrame:
    """Returns the manifest of a folder, created once."""
    kept = root / f"{raw.name}.parquet"
    if not kept.exists():
        study = Study(root / f"ingest-{raw.name}", raw, GLYPHS, {})
        study.run("ingest")
        with replacing(kept) as beside:
            study.manifest().to_parquet(beside)
    return pd.read_parquet(kept)


def some(rows: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """Returns `count` random rows of each class, or all rows of a class with fewer."""
    random = np.random.default_rng(seed)
    picked = [group.iloc[random.permutation(len(group))[:count]] for _, group in rows.groupby(Column.LABEL)]
    return pd.concat(picked).sort_index()


def as_split(rows: pd.DataFrame, split: Split) -> pd.DataFrame:
    """Returns the rows assigned to this split, without labels if it is the unlabeled split."""
    changed = rows.assign(**{Column.SPLIT: split.value})
    return changed.assign(**{Column.LABEL: None}) if split is Split.UNLABELED else changed


def partly_labeled(rows: pd.DataFrame, labels: int, validation: int, seed: int) -> list[pd.DataFrame]:
    """Returns `labels` images of each class for training, `validation` for validation, and the rest as unlabeled."""
    labeled = some(rows, labels + validation, seed)
    held_out = some(labeled, validation, seed + 100)
    return [
        as_split(labeled.drop(held_out.index), Split.TRAIN),
        as_split(held_out, Split.VALIDATION),
        as_split(rows.drop(labeled.index), Split.UNLABELED),
    ]


def below(rows: pd.DataFrame, folder: str) -> pd.DataFrame:
    """Returns the rows with paths relative to the parent folder."""
    return rows.assign(**{Column.PATH: folder + "/" + rows[Column.PATH]})


def random_backbone(file: Path, architecture: str, seed: int) -> Path:
    """Writes random weights for an architecture. Returns the file."""
    torch.manual_seed(seed)
    like = "resnet18" if architecture in BUILTIN_ARCHITECTURES else architecture
    preprocessing = {"preprocessing": asdict(torchvision_preprocessing(like))}
    write(file, build_backbone(architecture)[0].state_dict(), preprocessing)
    return file
