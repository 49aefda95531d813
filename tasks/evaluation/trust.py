"""How far the fine-tuned model can be trusted: reliability, ROC, "don't know", slices and corruptions, as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from tasks.core.files import replacing
from tasks.core.paths import Paths
from tasks.core.schema import Candidate
from tasks.data.slices import slices_of
from tasks.evaluation.robustness import AS_IS
from tasks.metrics.answers import Answers
from tasks.reports import diagrams


def write_trust(
    paths: Paths,
    test: pd.DataFrame,
    classes: Sequence[str],
    answers: Mapping[Candidate, Answers],
    robust: pd.DataFrame,
    columns: Sequence[str],
    bins: int,
    sure: Mapping[str, float],
) -> None:
    """Writes the tables of slices and corruptions, and the pictures. Raises ParamsError for an unknown column."""
    tuned = answers[Candidate.TUNED]
    with replacing(paths.slices) as beside:
        slice_table(test, tuned, columns).to_csv(beside, index=False, float_format="%.4f")
    with replacing(paths.robustness) as beside:
        robust.to_csv(beside, index=False, float_format="%.4f")
    diagrams.reliability(paths.reliability, tuned.raw_NC, tuned.scaled_NC, tuned.y_N, bins)
    diagrams.roc_and_pr(paths.roc_pr, tuned.scaled_NC, tuned.y_N, classes)
    diagrams.risk_over_coverage(paths.risk_coverage, answers, sure["threshold"], sure["wanted_risk"])
    is_clean = robust["corruption"] == AS_IS
    clean = float(robust.loc[is_clean, "accuracy"].sum())
    rows = robust[~is_clean].to_dict("records")
    diagrams.robustness(paths.robustness_picture, [{str(k): v for k, v in row.items()} for row in rows], clean)


def slice_table(test: pd.DataFrame, answers: Answers, columns: Sequence[str]) -> pd.DataFrame:
    """A row a slice: its name, how many images, and the accuracy on them."""
    rows = [
        (name, int(inside.sum()), float(answers.hit_N[inside.fillna(value=False).to_numpy(bool)].mean()))
        for name, inside in slices_of(test, columns)
    ]
    return pd.DataFrame(rows, columns=["slice", "images", "accuracy"])
