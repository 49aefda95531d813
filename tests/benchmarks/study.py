"""Stages as functions, on a manifest that the benchmark modifies: many seeds in one process."""

from __future__ import annotations

import contextlib
import copy
import io
import shutil
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd

from flows.config.parameters import stage_params
from tasks.core.files import read_json
from tasks.core.params import PARAMS_FILE, read_document
from tasks.core.paths import Paths
from tasks.core.schema import AUTO, Candidate
from tasks.data import decoding
from tasks.data.manifest import target_spec, usable
from tasks.models.weights_file import read, write
from tasks.objectives.teacher import SPEC
from tasks.scorer.decode import Decoding
from tests.candidates import write_chosen

NETWORKS = (Candidate.SCRATCH, Candidate.PROBE, Candidate.TUNED)  # candidates that are trained
STAGES = ("ingest", "validate", "augment", "features", "head", "finetune", "evaluate")


class Study:
    """A folder with images, weights and modified parameters in which stages are run."""

    def __init__(self, root: Path, raw: Path, pretrained: Path, changes: dict[str, Any]) -> None:
        self.document = read_document(PARAMS_FILE)
        self.document["finetune"]["recipe"] = "fixed"  # what the benchmark configures
        self.reports: dict[str, Any] = {}  # by stage
        self.change(changes)
        places = {name: root / Path(place).name for name, place in self.document["paths"].items()}
        self.paths = Paths(**{**places, "raw": raw})
        backbone = self.document["backbone"]
        if backbone["architecture"] == AUTO:
            backbone |= {"architecture": "resnet10", "weights": str(pretrained)}
        if not places["choose"].exists():
            write_chosen(places["choose"], pretrained, backbone["architecture"], backbone["crop"] or 0)

    def change(self, changes: dict[str, Any]) -> None:
        """Sets parameters by their dotted names."""
        self.document = copy.deepcopy(self.document)
        for name, value in changes.items():
            *sections, key = name.split(".")
            node = self.document
            for section in sections:
                node = node[section]
            node[key] = value

    def run(self, *stages: str) -> float:
        """Runs stages with their output hidden. Returns their total seconds."""
        seconds = 0.0
        if not self.paths.teacher.exists():
            write(self.paths.teacher, {})
        for stage in stages:
            params = stage_params(stage)
            typed = params.of(self.document)
            function = getattr(import_module(f"tasks.{stage}"), stage)
            with contextlib.redirect_stdout(io.StringIO()):
                started = time.perf_counter()
                self.reports[stage] = function(self.paths, typed)
                seconds += time.perf_counter() - started
        return seconds

    def manifest(self) -> pd.DataFrame:
        """Returns the current manifest."""
        return pd.read_parquet(self.paths.manifest)

    def use(self, manifest: pd.DataFrame) -> None:
        """Replaces the manifest, and derives the target specification from its rows, as ingest does.

        Without an ingest before it, images are decoded as by default.
        """
        self.paths.manifest.parent.mkdir(parents=True, exist_ok=True)
        manifest.to_parquet(self.paths.manifest, index=False)
        target_spec(usable(manifest)).save(self.paths.task)
        if not self.paths.decoding.exists():
            decoding.save(self.paths.decoding, Decoding())

    def becomes_teacher(self, file: Path) -> None:
        """Writes the tuned model as a teacher file."""
        write(file, read(self.paths.tuned)[0], {SPEC: read_json(self.paths.spec)})

    def backbone_of(self, file: Path) -> Path:
        """Writes the tuned model's backbone and head as initial weights. Returns the file."""
        spec, (state, _) = read_json(self.paths.spec), read(self.paths.tuned)
        tensors = {name.removeprefix("backbone."): tensor for name, tensor in state.items()}
        write(file, tensors, {"preprocessing": spec["preprocessing"], "classes": spec["classes"]})
        return file

    def report(self) -> pd.DataFrame:
        """Returns the tuned model's learning curve."""
        rows = pd.read_json(self.paths.curves, lines=True)
        return rows[rows["candidate"] == Candidate.TUNED].reset_index(drop=True)

    def accuracies(self) -> dict[str, float]:
        """Returns the test accuracy of each candidate, in percent."""
        return {name: 100 * scored["accuracy"]["value"] for name, scored in read_json(self.paths.metrics).items()}

    def forget(self) -> None:
        """Removes all files that were written."""
        shutil.rmtree(self.paths.state.parent, ignore_errors=True)
