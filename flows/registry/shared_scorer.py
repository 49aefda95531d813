"""A version's scorer in a folder that the workers of a cluster see, from which they load it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.registry.scorer_code import run_code
from flows.registry.version_files import VersionFiles, downloaded
from flows.registry.versions import load_checked
from tasks.core.errors import RootstockError
from tasks.core.files import remove

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

    from tasks.evaluation.prediction_tables import StreamingScorer


@dataclass(frozen=True)
class ScorerFiles:
    """The checked files of a version, and their digest."""

    files: VersionFiles
    digest: str

    def __call__(self) -> StreamingScorer:
        """Loads the scorer, in any process. Raises RootstockError if the files are no longer what was checked."""
        if self.files.scorer_digest() != self.digest:
            message = f"{self.files.folder} has changed meanwhile; run the command again"
            raise RootstockError(message, key="weights-changed")
        scorer: Any = run_code(self.files.code()).Scorer
        loaded: StreamingScorer = scorer.load(self.files.spec, self.files.weights)
        return loaded


def shared_scorer(version: ModelVersion, folder: Path) -> ScorerFiles:
    """Copies a version's files to `folder`. Raises RootstockError if they cannot be read, or are not to be used."""
    remove(folder)
    files = downloaded(version, folder.absolute())
    load_checked(version, files)
    return ScorerFiles(files, files.scorer_digest())
