"""Registration: scorer and weights become a model version, once, which proves that it predicts what was evaluated."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import version as installed
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import tasks
from flows.registry.kinds import ANSWER_COLUMNS, DIFFERENCES
from flows.registry.runs import Run
from flows.registry.scorer_code import digest_of, read_code
from flows.registry.store import client
from flows.registry.tags import Tag, lineage
from flows.registry.versions import CHALLENGER, PRODUCTION, find
from flows.stages import dvc_cli
from tasks.core.errors import RootstockError
from tasks.core.paths import Paths
from tasks.core.schema import Column
from tasks.core.target import TargetSpec

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

MODEL_CODE = Path(__file__).with_name("model_code.py")
TASKS = Path(tasks.__file__).parent
NEEDED = ("mlflow", "torch", "torchvision", "safetensors", "pillow", "numpy", "pandas")
WISHES = "Copies made with the button Promote model come here: each is a wish that the release answers within a minute."
TOLERANCE = 1e-3  # of a probability, or of a target's spread, between evaluation and the model that was loaded back
PROVED = 512  # test images at most, in batches of one, two, five and the rest


def register_version(run: Run, model: str, paths: Paths) -> tuple[ModelVersion, bool]:
    """The version for the current results, and whether it is new. Raises RootstockError if its proof fails.

    One that has the same key (the outputs of finetune and evaluate, and the scorer's code) is not made again.
    """
    key = key_of(paths)
    found = _existing(run, model, key)
    if found and found.tags.get(Tag.PROOF) == "passed":
        _challenge(model, found)
        return found, False
    dvc_cli.push()
    run.log_results()
    version = found or _create(run, model, paths, key)
    prove(version, paths)
    run.client.set_model_version_tag(model, version.version, Tag.PROOF, "passed")
    _challenge(model, version)
    return version, True


def _challenge(model: str, version: ModelVersion) -> None:
    """The alias goes where the newest results are, also if those were registered before."""
    now = find(model, CHALLENGER)
    if now is None or str(now.version) != str(version.version):
        client().set_registered_model_alias(model, CHALLENGER, version.version)


def key_of(paths: Paths) -> str:
    """What makes two versions the same."""
    outs = [dvc_cli.out_md5s(stage) for stage in ("finetune", "evaluate")]
    sources = read_code(TASKS, paths.spec.read_bytes()).values()
    code = [hashlib.sha256(source).hexdigest() for source in (*sources, MODEL_CODE.read_bytes())]
    return hashlib.sha256(json.dumps([outs, code], sort_keys=True).encode()).hexdigest()


def _existing(run: Run, model: str, key: str) -> ModelVersion | None:
    found = run.client.search_model_versions(f"name = '{model}' and tags.`{Tag.KEY}` = '{key}'", max_results=1)
    return found[0] if found else None


def _create(run: Run, model: str, paths: Paths, key: str) -> ModelVersion:
    """Logs the model, weights as safetensors and code as text, nothing pickled; and registers it."""
    import mlflow
    from mlflow.models import Model

    logged = run.client.create_logged_model(run.experiment, name=model, source_run_id=run.id)
    spec = paths.spec.read_bytes()
    code = read_code(TASKS, spec)
    files = digest_of(code, spec, paths.tuned)
    with warnings.catch_warnings(), TemporaryDirectory() as folder:
        warnings.filterwarnings(
            "ignore", ".*An input example was not provided"
        )  # an example costs seconds; prove() shows more
        Model.log(
            artifact_path=None,
            flavor=mlflow.pyfunc,
            run_id=run.id,
            model_id=logged.model_id,
            python_model=str(MODEL_CODE),
            artifacts={"scorer": _written(code, Path(folder)), "spec": str(paths.spec), "weights": str(paths.tuned)},
            model_config={"files": files},
            signature=_signature(TargetSpec.load(paths.task)),
            pip_requirements=[f"{package}=={installed(package)}" for package in NEEDED],
        )
    for name, description in ((model, None), (f"{model}{PRODUCTION}", WISHES)):
        with suppress(mlflow.exceptions.MlflowException):  # it is there already
            run.client.create_registered_model(name, description=description)
    tags = lineage(paths) | {Tag.KEY: key, Tag.FILES: files}
    source = f"models:/{logged.model_id}"
    return run.client.create_model_version(model, source, run_id=run.id, tags=tags, model_id=logged.model_id)


def _written(code: Mapping[str, bytes], folder: Path) -> str:
    """Writes the source files, without all else that lies beside them, below `folder`; returns where they are."""
    for name, content in code.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return str(folder / "scorer")


def _signature(target: TargetSpec) -> object:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    outputs = ANSWER_COLUMNS[target.kind](target)
    return ModelSignature(inputs=Schema([ColSpec("binary", "image")]), outputs=Schema(list(outputs)))


def prove(version: ModelVersion, paths: Paths) -> None:
    """Loads the version from the registry and compares its answers with the evaluated ones. Raises RootstockError."""
    import mlflow
    import pandas as pd

    loaded = mlflow.pyfunc.load_model(f"models:/{version.name}/{version.version}")
    rows = pd.read_parquet(paths.predictions)
    rows = rows.iloc[:: -(-len(rows) // PROVED)]
    pictures = iter([(paths.raw / path).read_bytes() for path in rows[Column.PATH]])
    answers = pd.concat(
        [
            loaded.predict(pd.DataFrame({"image": batch}))
            for size in (1, 2, 5, PROVED)
            if (batch := list(islice(pictures, size)))
        ]
    )
    target = TargetSpec.load(paths.task)
    difference = DIFFERENCES[target.kind](answers, rows, target)
    if not difference <= TOLERANCE:
        raise RootstockError(
            f"version {version.version} of {version.name} does not predict what was evaluated: answers differ by "
            f"up to {difference:.2g}, so it gets no alias. Was it evaluated on another machine? Then: "
            "dvc repro -f evaluate"
        )
