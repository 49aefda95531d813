"""The golden picture of the current results: the test picture that is answered with the largest margin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from flows.registry.kinds import SpecRecord
from tasks.core.files import read_json
from tasks.core.paths import Paths
from tasks.core.schema import Column
from tasks.core.target import TargetKind, TargetSpec
from tasks.serving.golden import MAX_BYTES, Golden

if TYPE_CHECKING:
    import pandas as pd


def golden_of(paths: Paths, evaluated: pd.DataFrame) -> Golden | None:
    """Returns a test picture among the `evaluated` ones with the results' answer, or None if all are too large."""
    from tasks.scorer.answer import Scorer

    target = TargetSpec.load(paths.task)
    margin_N = MARGINS[target.kind](evaluated, read_json(paths.spec))
    names = margin_N.sort_values(ascending=False, kind="stable").index
    files = (paths.raw / evaluated[Column.PATH][name] for name in names)
    file = next((file for file in files if file.stat().st_size <= MAX_BYTES), None)
    if file is None:
        return None
    scorer, picture = Scorer.load(paths.spec, paths.tuned), file.read_bytes()
    scale = dict(zip(target.targets, target.std_K, strict=True))
    return Golden.of(picture, scorer.row(scorer.logits([picture])[0]), scale)


def class_margin(evaluated: pd.DataFrame, _spec: SpecRecord) -> pd.Series:
    """Returns the probability of each prediction."""
    return evaluated[Column.PROBABILITY]


def label_margin(evaluated: pd.DataFrame, spec: SpecRecord) -> pd.Series:
    """Returns each picture's smallest distance of a label's probability from its threshold."""
    import pandas as pd

    probabilities = pd.DataFrame(evaluated[Column.DISTRIBUTION].tolist(), evaluated.index, dtype=float)
    return (probabilities - spec["label_thresholds"]).abs().min(axis=1)


def no_margin(evaluated: pd.DataFrame, _spec: SpecRecord) -> pd.Series:
    """Returns equal margins: numbers have no threshold that rounding could cross."""
    import pandas as pd

    return pd.Series(0, evaluated.index)


MARGINS: Mapping[TargetKind, Callable[[pd.DataFrame, SpecRecord], pd.Series]] = {
    TargetKind.CLASSIFICATION: class_margin,
    TargetKind.MULTILABEL: label_margin,
    TargetKind.REGRESSION: no_margin,
}
