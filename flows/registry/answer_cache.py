"""A version's answers for test images, computed once. A damaged file is computed again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from flows.registry.versions import scorer_of, scorer_thresholds
from tasks.core.files import replacing, sha256_of, write_text
from tasks.core.paths import Paths
from tasks.core.schema import Column

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities.model_registry import ModelVersion


def answers(version: ModelVersion, files: str | None, paths: Paths, rows: pd.DataFrame) -> pd.DataFrame:
    """Returns the version's answers for N images: probabilities (N, C), labels (N, C) bool, or values (N, K).

    `files` is the digest of the version's files.
    """
    inputs = "".join([files or "unreadable", *rows[Column.PIXEL_HASH]])
    digest = hashlib.sha256(inputs.encode()).hexdigest()
    file = paths.state / "answers" / f"{Path(str(version.source)).name}-{digest[:16]}.parquet"
    return _cached(file, lambda: _computed(version, paths, rows))


def _cached(file: Path, compute: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """Reads a table whose SHA-256 is noted beside it; if it is missing or damaged, computes and writes it."""
    import pandas as pd

    note = file.with_suffix(".sha256")
    if not (file.exists() and note.exists() and note.read_text(encoding="utf-8") == sha256_of(file)):
        with replacing(file) as temporary:
            compute().to_parquet(temporary, index=False)
        write_text(note, sha256_of(file))
    return pd.read_parquet(file)


def _computed(version: ModelVersion, paths: Paths, rows: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    scorer = scorer_of(version)
    outputs = scorer.probabilities((paths.raw / path).read_bytes() for path in rows[Column.PATH])
    if thresholds := scorer_thresholds(scorer):
        outputs = outputs >= outputs.new_tensor(thresholds)
    return pd.DataFrame(outputs.numpy(), columns=[*scorer.classes, *scorer.targets])
