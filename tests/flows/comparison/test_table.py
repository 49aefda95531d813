"""The table of a comparison, from scores to text."""

from __future__ import annotations

import numpy as np

from flows.comparison.cell import Score
from flows.comparison.table import interval, score_table, summary
from flows.comparison.trials import all_trials
from flows.config.parameters import load
from tests.project import ROOT


def test_gains_are_paired_by_seed():
    params = load(ROOT / "params.yaml")
    trials = [trial for trial in all_trials(params) if trial.model in {"fine-tuned", "from scratch"}]
    values = {"fine-tuned": [0.9, 0.8, 0.7], "from scratch": [0.8, 0.7, 0.6]}
    scores = {
        trial: Score("accuracy", values[trial.model][params.compare.seeds.index(trial.seed)], 2.0, 3.0)
        for trial in trials
    }
    columns, rows = summary(score_table(scores), "fine-tuned")
    by_name = {row[0]: dict(zip(columns, row, strict=True)) for row in rows}
    assert by_name["from scratch"]["gain over fine-tuned"] == "-10.0 ± 0.0"
    assert by_name["fine-tuned"]["digits, accuracy"] == interval(np.array(values["fine-tuned"]))
    assert by_name["fine-tuned"]["CPU-seconds"] == "3"
    assert interval(np.array([np.nan])) == "failed"
    assert interval(np.array([0.5])) == "50.0"
