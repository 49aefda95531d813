"""Prepares a trial of a comparison: one model on one data set with one seed, in a folder of its own."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from flows.comparison.cell import RESULT, SHARED_STAGES, run_stages
from flows.config.parameters import FlowParams, check, stage_params
from flows.sources.candidates import candidates_of
from flows.sources.copies import listing
from flows.sources.images import images_of
from flows.sources.names import check_names
from flows.sources.weights import teacher_of
from tasks.core.digest import code_digest
from tasks.core.errors import ParamsError, RootstockError
from tasks.core.files import read_json, replacing, sha256_of, write_json
from tasks.core.messages import DisplayMessage
from tasks.core.params import CHOICE, HEIF, INIT, PARAMS_FILE, PINS, read_document, values_of
from tasks.core.schema import STAGES
from tasks.evaluation.requirements import check_attacks_installed
from tasks.objectives.requirements import check_search_installed, uses_index
from tasks.scorer.readers import heif_version
from tasks.selection.candidates import LIST

DONE = "done"  # marks a data set that has been ingested and validated
TRIAL_PREFIX = "compare:"  # in teacher.weights: a model of the comparison, with the same data set and seed


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
    def teacher(self) -> str | None:
        """Returns the model of the comparison that this one learns from, with the same data set and seed."""
        name = str(self.changes.get("teacher.weights", ""))
        return name.removeprefix(TRIAL_PREFIX) if name.startswith(TRIAL_PREFIX) else None

    @property
    def folder(self) -> Path:
        """Returns the path of the trial's folder, relative to the comparison's folder."""
        key = hashlib.sha256(f"{self.data}|{self.model}|{self.seed}".encode()).hexdigest()[:12]
        return Path("cells") / key


def prepare(trial: Trial, folder: Path, place: Path) -> str:
    """Writes the params.yaml of the trial and of its data set, and prepares the sources of both.

    Returns a digest of everything that the trial's score depends on. Its state is its own, as several trials may run at
    the same time. Raises RootstockError if a parameter or a source is not valid.
    """
    document = copy.deepcopy(read_document(PARAMS_FILE))
    for name, value in trial.changes.items():
        set_value(document, name, value)
    if trial.teacher:
        set_value(document, "teacher.weights", None)
    params = check(document)
    check_names(params)
    check_attacks_installed(params.evaluate.attacked)
    check_search_installed(params.objective, params.unlabelled)
    raw, candidates = images_of(params).resolve(), candidates_of(params).resolve()
    if trial.teacher:
        teacher_file = as_teacher(folder / Trial(trial.data, trial.teacher, trial.seed, {}).folder)
        set_value(document, "teacher.weights", trial.changes["teacher.weights"])
    else:
        teacher_file = teacher_of(params).resolve()
    if "scratch.run" not in trial.changes:
        set_value(document, "scratch.run", False)  # in a comparison, the teacher is one of the models
    data_facts: list[object] = [str(raw), listing(raw), heif_version(), code_of(SHARED_STAGES)]
    data_facts += [_read_by(stage, document) for stage in SHARED_STAGES]
    shared = folder / "data" / hashlib.sha256(json.dumps(data_facts).encode()).hexdigest()[:12]
    places = {"raw": raw, "candidates": candidates, "teacher": teacher_file}
    places |= {name: shared / name for name in SHARED_STAGES}
    for where, state in ((shared, folder / "state"), (place, place / "state")):
        _write_params(where, document, {**places, "state": state})
    share_features(place / "state", params)
    versions = [heif_version(), *(installed(package) for package in ("torch", "torchvision", "pillow"))]
    versions += [installed("voyager")] if uses_index(params.objective, params.unlabelled) else []
    facts: list[object] = [[_read_by(stage, document) for stage in STAGES], versions, code_of(STAGES)]
    facts += [listing(raw), (candidates / LIST).read_text(encoding="utf-8"), sha256_of(teacher_file)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _write_params(where: Path, document: CommentedMap, places: Mapping[str, Path]) -> None:
    """Writes the parameters, with these paths, into the folder in which stages will run."""
    for name, path in places.items():
        set_value(document, f"paths.{name}", str(path.absolute()))
    with replacing(where / PARAMS_FILE) as beside, beside.open("w", encoding="utf-8") as out:
        YAML().dump(document, out)
    write_json(where / PINS, {CHOICE: None, HEIF: None, INIT: None})


def share_features(state: Path, params: FlowParams) -> None:
    """Links the feature store of a trial's state to that of retraining, so that each reuses the other's features."""
    link = state / params.paths.feature_store.name
    params.paths.feature_store.mkdir(parents=True, exist_ok=True)
    if not link.exists():
        link.unlink(missing_ok=True)  # a broken link, left behind when the checkout was moved
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(params.paths.feature_store.absolute())


def prepare_data(place: Path, on_message: Callable[[DisplayMessage], None]) -> None:
    """Runs the stages of a trial's data set unless they have run. Raises RootstockError if one fails."""
    params = check(read_document(place / PARAMS_FILE))
    shared = params.paths.ingest.parent
    if not (shared / DONE).exists():
        run_stages(shared, SHARED_STAGES, params.run, on_message)
        (shared / DONE).touch()


def _read_by(stage: str, document: CommentedMap) -> dict[str, Any]:
    return dict(values_of(document, stage_params(stage).sections()))


def code_of(stages: Sequence[str]) -> str:
    """Returns the digest of the code that `run_stages` runs for these stages."""
    return code_digest("tasks.__main__", *(f"tasks.{stage}" for stage in stages))


def as_teacher(place: Path) -> Path:
    """Returns the trial's fine-tuned model in `place` as a teacher file. Raises RootstockError if there is none."""
    from tasks.models import weights_file
    from tasks.objectives.teacher import SPEC

    try:
        read_json(place / RESULT)  # a network file system may deny for a while that a new file exists, but opens it
    except FileNotFoundError:
        raise RootstockError("its teacher could not be computed", key="teacher-failed") from None
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
