"""The scorer of a registered version, loaded from a checked copy of its files by the workers of a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.core.errors import RootstockError
from tasks.core.target import TargetKind, kind_of
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


def scorer_thresholds(scorer: Any) -> list[float]:  # noqa: ANN401 - its class may come from an older version
    """Returns the threshold of each label of a multi-label scorer; an empty list for others."""
    return list(map(float, getattr(scorer, "label_thresholds", ())))


def scorer_kind(scorer: Any) -> TargetKind:  # noqa: ANN401 - as above
    """Returns the kind of target that a version's scorer predicts."""
    return kind_of({"targets": list(scorer.targets), "label_thresholds": scorer_thresholds(scorer)})
