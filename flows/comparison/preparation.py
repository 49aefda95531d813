"""Prepares a trial of a comparison: one model on one data set with one seed, in a folder of its own."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from flows.config.parameters import check, stage_params
from flows.sources.candidates import candidates_of
from flows.sources.copies import listing
from flows.sources.images import images_of
from flows.sources.names import check_names
from flows.sources.weights import teacher_of
from tasks.core.digest import code_digest
from tasks.core.errors import ParamsError, RootstockError
from tasks.core.files import read_json, replacing, sha256_of, write_json
from tasks.core.params import CHOICE, HEIF, INIT, PARAMS_FILE, PINS, read_document, values_of
from tasks.core.schema import STAGES
from tasks.evaluation.requirements import check_attacks_installed
from tasks.scorer.readers import heif_version
from tasks.selection.candidates import LIST

SHARED_STAGES = ("ingest", "validate")  # they depend only on the data set
TRIAL_STAGES = ("choose", "augment", "features", "head", "finetune", "evaluate")
TRIAL_PREFIX = "compare:"  # in teacher.weights: a model of the comparison, with the same data set and seed
RESULT = "result.json"


@dataclass(frozen=True)
class Trial:
    """A model on a data set with a seed: their names, and their overrides of params.yaml by dotted name."""

    data: str
    model: str
    seed: int
    changes: Mapping[str, Any] = field(hash=False)

    @property
    def name(self) -> str:
        """Returns a readable name."""
        return f"{self.model} on {self.data}, seed {self.seed}"

    @property
    def folder(self) -> Path:
        """Returns the path of the trial's folder, relative to the comparison's folder."""
        key = hashlib.sha256(f"{self.data}|{self.model}|{self.seed}".encode()).hexdigest()[:12]
        return Path("cells") / key


def prepare(trial: Trial, folder: Path, place: Path) -> str:
    """Writes the trial's params.yaml and prepares its sources. Returns a digest of everything its score depends on.

    Raises RootstockError if a parameter or a source is not valid.
    """
    document = copy.deepcopy(read_document(PARAMS_FILE))
    teacher = str(trial.changes.get("teacher.weights", ""))
    for name, value in trial.changes.items():
        set_value(document, name, value)
    if teacher.startswith(TRIAL_PREFIX):
        set_value(document, "teacher.weights", None)
    params = check(document)
    check_names(params)
    check_attacks_installed(params.evaluate.attacked)
    raw, candidates = images_of(params).resolve(), candidates_of(params).resolve()
    if not teacher.startswith(TRIAL_PREFIX):
        teacher_file = teacher_of(params).resolve()
    else:
        teacher_file = as_teacher(folder / Trial(trial.data, teacher.removeprefix(TRIAL_PREFIX), trial.seed, {}).folder)
        set_value(document, "teacher.weights", teacher)
    if "scratch.run" not in trial.changes:
        set_value(document, "scratch.run", False)  # in a comparison, the teacher is one of the models
    data_facts: list[object] = [str(raw), listing(raw), heif_version(), code_of(SHARED_STAGES)]
    data_facts += [_read_by(stage, document) for stage in SHARED_STAGES]
    shared = folder / "data" / hashlib.sha256(json.dumps(data_facts).encode()).hexdigest()[:12]
    places = {"raw": raw, "candidates": candidates, "teacher": teacher_file, "state": folder / "state"}
    places |= {name: shared / name for name in SHARED_STAGES}
    for name, where in places.items():
        set_value(document, f"paths.{name}", str(Path(where).absolute()))
    with replacing(place / PARAMS_FILE) as beside, beside.open("w", encoding="utf-8") as out:
        YAML().dump(document, out)
    write_json(place / PINS, {CHOICE: None, HEIF: None, INIT: None})
    versions = [heif_version(), *(installed(package) for package in ("torch", "torchvision", "pillow"))]
    facts: list[object] = [[_read_by(stage, document) for stage in STAGES], versions, code_of(STAGES)]
    facts += [listing(raw), (candidates / LIST).read_text(encoding="utf-8"), sha256_of(teacher_file)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _read_by(stage: str, document: CommentedMap) -> dict[str, Any]:
    return dict(values_of(document, stage_params(stage).sections()))


def code_of(stages: Sequence[str]) -> str:
    """Returns the digest of the code that `run_stages` runs for these stages."""
    return code_digest("tasks.__main__", *(f"tasks.{stage}" for stage in stages))


def as_teacher(place: Path) -> Path:
    """Returns the trial's fine-tuned model in `place` as a teacher file. Raises RootstockError if there is none."""
    from tasks.models import weights_file
    from tasks.objectives.teacher import SPEC

    if not (place / RESULT).exists():
        raise RootstockError("its teacher could not be computed", key="teacher-failed")
    paths = check(read_document(place / PARAMS_FILE)).paths
    file = (place / "teacher.weights").absolute()
    weights_file.write(file, weights_file.read(place / paths.tuned)[0], {SPEC: read_json(place / paths.spec)})
    return file


def set_value(document: Any, name: str, value: Any) -> None:  # noqa: ANN401 - a YAML document
    """Sets a parameter by its dotted name. Raises ParamsError if there is no such parameter."""
    *sections, key = name.split(".")
    node: Any = document
    for section in sections:
        node = node.get(section) if hasattr(node, "get") else None
    if not hasattr(node, "get") or key not in node:
        raise ParamsError(f"compare: params.yaml has no {name}", key=name)
    node[key] = value
