"""What MLflow stores of a version: code as text, weights as safetensors, a golden picture; nothing is pickled."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from flows.registry.kinds import ANSWER_COLUMNS
from tasks.core.paths import Paths
from tasks.core.target import TargetSpec
from tasks.scorer.readers import heif_version
from tasks.serving.golden import FOLDER, Golden

if TYPE_CHECKING:
    import pandas as pd

MODEL_CODE = Path(__file__).with_name("model_code.py")
REQUIREMENTS = ("mlflow", "torch", "torchvision", "safetensors", "pillow", "numpy", "pandas")


class Contents(NamedTuple):
    """The scorer's source files by name, the digest of code, spec and weights, and a golden picture if there is one."""

    code: Mapping[str, bytes]
    files: str
    golden: Golden | None


def log_model(run_id: str, model_id: str, paths: Paths, contents: Contents) -> None:
    """Uploads the files of a model that MLflow has created."""
    import mlflow
    from mlflow.models import Model

    with warnings.catch_warnings(), _without_bytecode(), TemporaryDirectory() as folder:
        warnings.filterwarnings("ignore", ".*An input example was not provided")  # if all images are too large
        warnings.filterwarnings("ignore", "Operation with range", DeprecationWarning)  # of pandas, in MLflow
        Model.log(
            artifact_path=None,
            flavor=mlflow.pyfunc,
            run_id=run_id,
            model_id=model_id,
            python_model=str(MODEL_CODE),
            artifacts=_artifacts(Path(folder), paths, contents),
            model_config={"files": contents.files},
            signature=signature_of(TargetSpec.load(paths.task)),
            input_example=_example(contents.golden),
            pip_requirements=_requirements(),
        )


@contextmanager
def _without_bytecode() -> Iterator[None]:
    """Leaves out the bytecode of the model's code, which MLflow would store: it imports that to try the example."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


def _artifacts(folder: Path, paths: Paths, contents: Contents) -> dict[str, str]:
    """Returns the files and folders to store; those that the project does not have yet are written to `folder`."""
    for name, content in contents.code.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    stored = {"scorer": folder / "scorer", "spec": paths.spec, "weights": paths.tuned}
    if contents.golden:
        stored[FOLDER] = contents.golden.write(folder)
    return {name: str(path) for name, path in stored.items()}


def signature_of(target: TargetSpec) -> Any:  # noqa: ANN401 - MLflow's class
    """Returns the columns of input and output.

    The type `any` passes on what is in a row: as `binary`, MLflow would answer a whole batch with an error if one row
    is no base64, and would not decode it in the JSON forms `instances` and `inputs`.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema
    from mlflow.types.schema import AnyType

    image = ColSpec(AnyType(), "image")  # type: ignore[no-untyped-call]
    return ModelSignature(Schema([image]), Schema(list(ANSWER_COLUMNS[target.kind](target))))


def _example(golden: Golden | None) -> pd.DataFrame | None:
    import pandas as pd

    return pd.DataFrame({"image": [golden.picture]}) if golden else None


def _requirements() -> list[str]:
    """Returns the packages that the model needs, at their installed versions; one that reads HEIC is optional."""
    packages = (*REQUIREMENTS, "pillow-heif") if heif_version() else REQUIREMENTS
    return [f"{package}=={metadata.version(package)}" for package in packages]
