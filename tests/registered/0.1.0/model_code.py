"""The registered model, as MLflow loads it from code: image bytes in; label, probability and distribution out.

It runs the scorer that lies beside its weights, under a module name of its own, so that two versions loaded in one
process do not run each other's code. Nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class ImageModel(PythonModel):
    """Answers a column `image` of encoded pictures, any number of rows."""

    def load_context(self, context: PythonModelContext) -> None:
        """Loads spec and weights with the version's own scorer."""
        files = {name: Path(path) for name, path in context.artifacts.items()}
        scorer = _module(files["scorer"])
        self.scorer = scorer.Scorer.load(files["spec"], files["weights"])

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """A row a picture: `label`, `probability`, `confident`, and the `distribution` by class; or the targets.

        `confident` says whether the probability reaches the threshold that was chosen for the risk one accepts.
        """
        return pd.DataFrame([self.scorer.row(logits_C) for logits_C in self.scorer.logits(model_input["image"])])


def _module(file: Path) -> Any:
    name = "rootstock_scorer_" + hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or spec.loader is None:
            raise ImportError(f"{file} is no Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
    return sys.modules[name]


mlflow.models.set_model(ImageModel())
