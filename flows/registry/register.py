"""Registration: creates a model version from the current results and proves that it reproduces the evaluation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import tasks
from flows.registry.aliases import CHALLENGER, PRODUCTION
from flows.registry.golden_picture import golden_of
from flows.registry.kinds import DIFFERENCES
from flows.registry.ledger_lines import Event
from flows.registry.ledger_owner import begin_again
from flows.registry.logged_model import MODEL_CODE, Contents, log_model
from flows.registry.records import Statement, is_unrecorded, last_record, state
from flows.registry.runs import Run
from flows.registry.store import client
from flows.registry.tags import Tag, lineage
from flows.registry.trusted_code import code_digest, trust
from flows.registry.version_files import changed, downloaded
from flows.registry.versions import find, has_ended, remove, scorer_of
from flows.stages import dvc_cli
from tasks.core.errors import RootstockError
from tasks.core.paths import Paths
from tasks.core.schema import Column
from tasks.core.target import TargetSpec
from tasks.evaluation.scorer_code import digest_of, read_code
from tasks.serving.golden import TOLERANCE

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

TASKS = Path(tasks.__file__).parent
REQUESTS = "Copies made with the button Promote model: each is a request that the release handles within a minute."
MAX_PROOF_IMAGES = 512  # test images, in batches of one, two, five and the rest


def register_version(run: Run, model: str, paths: Paths) -> tuple[ModelVersion, bool]:
    """Returns the version for the current results, and whether it is new. Raises RootstockError if its proof fails.

    A version with the same key (the outputs of finetune and evaluate, and the scorer's code) is reused: the key is a
    tag, so its record must prove it, or, if this run was killed before it recorded the version, its run and its files.
    """
    key = key_of(paths)
    matches = _matching(run, model, key)
    if existing := _proved(matches, key):
        _announce(existing)
        return existing, False
    dvc_cli.push()
    run.log_results()
    version = _interrupted(matches, run, paths) or _create(run, model, paths, key)
    files = checked_digest(version, paths)
    prove(version, paths)
    # Another run may have registered the same content meanwhile: MLflow cannot search and create in one step.
    if quicker := _proved(_matching(run, model, key), key):
        remove(version)
        _announce(quicker)
        return quicker, False
    why = "it reproduced its evaluated predictions"
    state(version, Statement(Event.REGISTERED, why=why, files=files, key=key, proved=True))
    _announce(version)
    return version, True


def _announce(version: ModelVersion) -> None:
    """Tags a proved version, and points the alias challenger to it, even if it was registered before."""
    if Tag.PROOF not in version.tags:  # also if the run that recorded the proof was killed before this
        client().set_model_version_tag(version.name, str(version.version), Tag.PROOF, "passed")
    current = find(version.name, CHALLENGER)
    if current is None or str(current.version) != str(version.version):
        client().set_registered_model_alias(version.name, CHALLENGER, str(version.version))


def key_of(paths: Paths) -> str:
    """Returns the key that identifies a version: a digest of the outputs of finetune and evaluate, and of all code."""
    outs = [dvc_cli.out_md5s(stage) for stage in ("finetune", "evaluate")]
    sources = read_code(TASKS, paths.spec.read_bytes()).values()
    code = [hashlib.sha256(source).hexdigest() for source in (*sources, MODEL_CODE.read_bytes())]
    return hashlib.sha256(json.dumps([outs, code], sort_keys=True).encode()).hexdigest()


def _matching(run: Run, model: str, key: str) -> list[ModelVersion]:
    return list(run.client.search_model_versions(f"name = '{model}' and tags.`{Tag.KEY}` = '{key}'"))


def _interrupted(matches: Sequence[ModelVersion], run: Run, paths: Paths) -> ModelVersion | None:
    """Returns the version that this run created before it was killed; removes those of runs that ended before."""
    for version in matches:
        if version.run_id == run.id and _holds_results(version, paths):
            return version
        if has_ended(str(version.run_id)) and is_unrecorded(version):
            remove(version)
    return None


def _proved(matches: Sequence[ModelVersion], key: str) -> ModelVersion | None:
    """Returns the first version whose record says that it was proved for this key."""
    records = ((version, last_record(version)) for version in matches)
    return next((version for version, record in records if record and record.proved and record.key == key), None)


def _holds_results(version: ModelVersion, paths: Paths) -> bool:
    try:
        checked_digest(version, paths)
    except RootstockError:
        return False
    return True


def _create(run: Run, model: str, paths: Paths, key: str) -> ModelVersion:
    """Logs the model and registers it."""
    import mlflow

    from tasks.evaluation.predictions_table import read_predictions

    logged = run.client.create_logged_model(run.experiment, name=model, source_run_id=run.id)
    spec = paths.spec.read_bytes()
    code = read_code(TASKS, spec)
    trust(code_digest(code), f"registered as {model}")
    files = digest_of(code, spec, paths.tuned)
    golden = golden_of(paths, read_predictions(paths, MAX_PROOF_IMAGES))
    log_model(run.id, logged.model_id, paths, Contents(code, files, golden))
    for name, description in ((model, None), (f"{model}{PRODUCTION}", REQUESTS)):
        with suppress(mlflow.exceptions.MlflowException):  # already exists
            run.client.create_registered_model(name, description=description)
            begin_again(name)
    tags = lineage(paths) | {Tag.KEY: key, Tag.FILES: files}
    source = f"models:/{logged.model_id}"
    return run.client.create_model_version(model, source, run_id=run.id, tags=tags, model_id=logged.model_id)


def checked_digest(version: ModelVersion, paths: Paths) -> str:
    """Returns the digest of all files of a version. Raises RootstockError if they are not of the current results."""
    spec = paths.spec.read_bytes()
    with TemporaryDirectory() as private:
        files = downloaded(version, Path(private))
        is_ours = files.scorer_digest() == digest_of(read_code(TASKS, spec), spec, paths.tuned)
        if not (is_ours and files.model_code_is(MODEL_CODE.read_bytes())):
            raise changed(files)
        return files.digest()


def prove(version: ModelVersion, paths: Paths) -> None:
    """Loads the version from the registry. Raises RootstockError if its answers differ from the evaluation."""
    import pandas as pd

    from tasks.evaluation.predictions_table import read_predictions

    scorer = scorer_of(version)
    rows = read_predictions(paths, MAX_PROOF_IMAGES)
    pictures = iter([(paths.raw / path).read_bytes() for path in rows[Column.PATH]])
    batches = (list(islice(pictures, size)) for size in (1, 2, 5, MAX_PROOF_IMAGES))
    answers = pd.DataFrame([scorer.row(logits_C) for batch in batches for logits_C in scorer.logits(batch)])
    target = TargetSpec.load(paths.task)
    difference = DIFFERENCES[target.kind](answers, rows, target)
    if not difference <= TOLERANCE:
        raise RootstockError(
            f"version {version.version} of {version.name} does not predict what was evaluated: answers differ by up to "
            f"{difference:.2g}, so it gets no alias. If it was evaluated on another machine, run: "
            "dvc repro -f evaluate",
            key="proof-failed",
        )
