"""The scorer of a registered version, loaded from a checked copy of its files by the workers of a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.core.errors import RootstockError
from tasks.evaluation.scorer_code import digest_of, read_code, run_code

if TYPE_CHECKING:
    from tasks.evaluation.prediction_tables import StreamingScorer


@dataclass(frozen=True)
class VersionScorer:
    """The files of a version, its scorer's code beside `spec`, and their digest when they were checked."""

    spec: Path
    weights: Path
    digest: str

    def __call__(self) -> StreamingScorer:
        """Loads the scorer, in any process. Raises RootstockError if the files are no longer what was checked."""
        spec = self.spec.read_bytes()
        code = read_code(self.spec.parent, spec)
        if digest_of(code, spec, self.weights) != self.digest:
            message = f"{self.spec.parent} has changed meanwhile; run the command again"
            raise RootstockError(message, key="weights-changed")
        module: Any = run_code(code)
        scorer: StreamingScorer = module.Scorer.load(self.spec, self.weights)
        return scorer
