"""The table of a comparison: scores with intervals per model and data set, paired gains over a baseline, costs.

Shapes: S seeds.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.stats import t

from flows.comparison.cell import Score
from flows.comparison.preparation import Trial


def score_table(scores: Mapping[Trial, Score]) -> pd.DataFrame:
    """Returns a table with one row per trial."""
    return pd.DataFrame(
        [
            {"data": trial.data, "model": trial.model, "seed": trial.seed, **vars(score)}
            for trial, score in scores.items()
        ]
    )


def summary(table: pd.DataFrame, against: str | None) -> tuple[list[str], list[list[str]]]:
    """Returns column names and a row per model: score by data set, gain over `against` paired by seed, mean cost."""
    sets = list(dict.fromkeys(table["data"]))
    scores = table.pivot_table(index=["model", "data"], columns="seed", values="value", sort=False, dropna=False)
    columns = ["model"]
    for name in sets:
        metric = next((m for m in table.loc[table["data"] == name, "metric"] if m), "score")
        columns += [f"{name}, {metric}", *([f"gain over {against}"] if against else [])]
    rows = []
    for model in dict.fromkeys(table["model"]):
        row = [model]
        for name in sets:
            values = scores.loc[(model, name)].to_numpy(float)
            row.append(interval(values))
            if against:
                baseline = scores.loc[(against, name)].to_numpy(float)
                row.append("" if model == against else interval(values - baseline, "+"))
        cost = table[table["model"] == model][["seconds", "cpu_seconds"]].mean()
        rows.append([*row, f"{cost['seconds']:.0f}", f"{cost['cpu_seconds']:.0f}"])
    return [*columns, "seconds", "CPU-seconds"], rows


def interval(values_S: np.ndarray, sign: str = "") -> str:
    """Formats the mean and half-width of the 95% t interval of values (S,), times 100; "failed" if all are NaN."""
    mean, half = mean_and_half(values_S)
    if np.isnan(mean):
        return "failed"
    return f"{100 * mean:{sign}.1f}" + (f" ± {100 * half:.1f}" if np.isfinite(half) else "")


def mean_and_half(values_S: np.ndarray) -> tuple[float, float]:
    """Returns the mean and half-width of the 95% t interval of values (S,), ignoring NaN; NaN where undefined."""
    valid = values_S[~np.isnan(values_S)]
    if not len(valid):
        return float("nan"), float("nan")
    if len(valid) == 1:
        return float(valid[0]), float("nan")
    return float(valid.mean()), float(t.ppf(0.975, len(valid) - 1) * valid.std(ddof=1) / len(valid) ** 0.5)


def points(table: pd.DataFrame) -> dict[str, dict[str, tuple[float, float]]]:
    """Returns the mean and half-width of the interval by data set and model."""
    return {
        str(data): {
            str(model): mean_and_half(group["value"].to_numpy(float))
            for model, group in rows.groupby("model", sort=False)
        }
        for data, rows in table.groupby("data", sort=False)
    }
