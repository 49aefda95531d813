"""A version's scorer in a folder that the workers of a cluster see."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from flows.registry.version_files import downloaded
from flows.registry.versions import checked_code
from tasks.core.files import replacing_folder
from tasks.evaluation.version_scorer import VersionScorer

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


def shared_scorer(version: ModelVersion, folder: Path) -> VersionScorer:
    """Checks a version's files and copies them to `folder`. Raises RootstockError if they are not to be used."""
    folder = folder.absolute()
    with TemporaryDirectory() as private:
        files = downloaded(version, Path(private))
        checked_code(version, files)
        digest = files.scorer_digest()
        with replacing_folder(folder) as beside:
            shutil.copytree(files.spec.parent, beside, dirs_exist_ok=True)
        return VersionScorer(folder / files.spec.name, folder / files.weights.name, digest)
