"""A version's answers for test images, computed once. A damaged file is computed again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from flows.registry.kinds import LIVE_ANSWERS
from flows.registry.versions import scorer_of
from tasks.core.files import replacing, sha256_of, write_text
from tasks.core.paths import Paths
from tasks.core.schema import Column
from tasks.evaluation.version_scorer import scorer_kind

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities.model_registry import ModelVersion

PART = 4096  # images whose probabilities are in memory at a time


def answers(version: ModelVersion, files: str | None, paths: Paths, rows: pd.DataFrame) -> pd.DataFrame:
    """Returns the version's answers for N rows of the manifest, by kind of target: see LIVE_ANSWERS.

    `files` is the digest of the version's files.
    """
    import pandas as pd

    labels = rows.get(Column.LABEL, pd.Series(dtype=str))  # whose probabilities are stored; targets are not
    inputs = repr((files or "unreadable", *rows[Column.PIXEL_HASH], *map(str, labels)))
    digest = hashlib.sha256(inputs.encode()).hexdigest()
    file = paths.state / "answers" / f"{Path(str(version.source)).name}-{digest[:16]}.arrow"
    return _cached(file, lambda: _computed(version, paths, rows))


def _cached(file: Path, compute: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """Reads a table whose SHA-256 is noted beside it; if it is missing or damaged, computes and writes it."""
    import pandas as pd

    note = file.with_suffix(".sha256")
    if not (file.exists() and note.exists() and note.read_text(encoding="utf-8") == sha256_of(file)):
        with replacing(file) as temporary:
            compute().to_feather(temporary)  # keeps the categories that do not occur
        write_text(note, sha256_of(file))
    return pd.read_feather(file)


def _computed(version: ModelVersion, paths: Paths, rows: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    scorer, parts = scorer_of(version), []
    for start in range(0, len(rows), PART):
        part = rows[start : start + PART]
        outputs = scorer.probabilities((paths.raw / path).read_bytes() for path in part[Column.PATH])
        parts.append(LIVE_ANSWERS[scorer_kind(scorer)](outputs, part, scorer))
    return pd.concat(parts, ignore_index=True)
