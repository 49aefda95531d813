from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from tasks.core.errors import ParamsError
from tasks.core.files import read_json
from tasks.core.schema import Candidate, Column, Metric
from tasks.scorer.answer import Scorer
from tests.drawn import SHAPES
from tests.errors import raises
from tests.stages.contract import augmented, embedded, evaluated, headed, ingested, through_head, tuned, validated

COLUMNS = ["path", "label", "predicted", "probability", "distribution"]  # permanent: older tables contain them


def test_evaluate_scores_all_three_with_the_code_that_serves(paths):
    through_head(paths)
    tuned(paths)
    report = evaluated(paths)
    table = read_json(paths.metrics)
    assert list(table) == [Candidate.SCRATCH, Candidate.PROBE, Candidate.TUNED]
    of_others = {Metric.MAP, Metric.R2, Metric.MAE, Metric.RMSE, Metric.SCALED_MAE, Metric.AGREEMENT}
    assert set(table[Candidate.TUNED]) == set(Metric) - of_others
    predictions = pd.read_parquet(paths.predictions)
    assert list(predictions.columns) == COLUMNS
    assert len(predictions) == report.images == 12
    scorer = Scorer.load(paths.spec, paths.tuned)
    assert scorer.classes == SHAPES
    served = scorer.probabilities([(paths.raw / path).read_bytes() for path in predictions[Column.PATH]])
    stored = torch.tensor(np.stack(predictions[Column.DISTRIBUTION]))
    torch.testing.assert_close(served, stored.float(), atol=1e-5, rtol=1e-4)
    trust = (paths.reliability, paths.roc_pr, paths.risk_coverage, paths.robustness_picture)
    for file in (paths.comparison, paths.confusion, paths.curves_picture, paths.wrong, *trust):
        assert file.read_bytes().startswith(b"\x89PNG")
    assert "data:image/png" in paths.results_page.read_text()
    assert "http" not in paths.results_page.read_text()


def test_evaluate_writes_robustness_slices_and_coverage(paths):
    through_head(paths)
    tuned(paths, scratch=False)
    report = evaluated(paths, slices=["width", "label"])
    robust = pd.read_csv(paths.robustness)
    assert list(robust["corruption"]) == ["none", "shift", "scale", "flip", "rotation", "noise", "blur", "jpeg", "jpeg"]
    assert robust["images"].eq(6).all()
    slices = pd.read_csv(paths.slices).set_index("slice")
    assert list(slices.index) == ["width=32", *(f"label={shape}" for shape in SHAPES)]
    assert slices.loc["width=32", "accuracy"] == pytest.approx(report.scores["accuracy"], abs=1e-4)
    predictions = pd.read_parquet(paths.predictions)
    answered = predictions[Column.PROBABILITY] >= read_json(paths.spec)["threshold"]
    assert answered.mean() == pytest.approx(report.scores["coverage"])
    with raises(ParamsError, "evaluate.slices"):
        evaluated(paths, slices=["camera"])


@pytest.mark.parametrize("kind", ["linear", "dense"])
def test_several_labels_go_through_every_stage(scenes, kind):
    ingested(scenes), augmented(scenes, flip=True)
    assert set(pd.read_parquet(scenes.manifest)[Column.LABEL]) == {"", "bar", "disc", "bar|disc"}
    assert validated(scenes).warnings == 0
    embedded(scenes)
    headed(scenes, kind=kind, epochs=60, hidden=64)
    tuned(scenes, epochs=3, mixup=0.2)
    report = evaluated(scenes, slices=["lot"])
    assert set(report.scores) == {"accuracy", "macro_f1", "map", "nll"}
    assert report.scores["map"] >= 0.6
    predictions, spec = pd.read_parquet(scenes.predictions), read_json(scenes.spec)
    assert list(predictions.columns) == COLUMNS
    assert spec["classes"] == ["bar", "disc"]
    scorer = Scorer.load(scenes.spec, scenes.tuned)
    pictures = [(scenes.raw / path).read_bytes() for path in predictions[Column.PATH]]
    rows = [scorer.row(logits) for logits in scorer.logits(pictures)]
    assert [row["label"] for row in rows] == list(predictions[Column.PREDICTED])
    right = np.mean([row["label"] == label for row, label in zip(rows, predictions[Column.LABEL], strict=True)])
    assert right == pytest.approx(report.scores["accuracy"])
    served = [list(row["distribution"].values()) for row in rows]
    np.testing.assert_allclose(served, np.stack(predictions[Column.DISTRIBUTION]), atol=1e-5)
    assert list(pd.read_csv(scenes.per_class)["label"]) == ["bar", "disc"]
    assert "data:image/png" in scenes.results_page.read_text()


@pytest.mark.parametrize("kind", ["linear", "dense"])
def test_targets_go_through_every_stage(discs, kind):
    ingested(discs), augmented(discs)
    assert validated(discs).warnings == 1  # some discs are near-duplicates in two splits
    embedded(discs)
    headed(discs, kind=kind, strengths=[0.01, 1.0], epochs=60, hidden=64)
    tuned(discs, epochs=2)
    report = evaluated(discs, slices=["lot"])
    table = read_json(discs.metrics)
    assert list(table) == [Candidate.MEAN, Candidate.SCRATCH, Candidate.PROBE, Candidate.TUNED]
    assert set(report.scores) == {"r2", "scaled_mae"}
    assert table[Candidate.PROBE]["scaled_mae"]["value"] < table[Candidate.MEAN]["scaled_mae"]["value"]
    per_target = pd.read_csv(discs.per_target)
    assert list(per_target["target"]) == ["radius", "x"]
    assert per_target["mae"].between(per_target["low"], per_target["high"]).all()
    assert "Targets" in discs.results_page.read_text()
    assert abs(table[Candidate.MEAN]["r2"]["value"]) < 0.3
    rows = pd.read_parquet(discs.predictions)
    assert list(rows.columns) == ["path", "target:radius", "target:x", "predicted:radius", "predicted:x"]
    scorer = Scorer.load(discs.spec, discs.tuned)
    assert scorer.targets == ("radius", "x")
    served = [scorer.row(row) for row in scorer.logits([(discs.raw / path).read_bytes() for path in rows["path"]])]
    np.testing.assert_allclose([row["radius"] for row in served], rows["predicted:radius"], atol=1e-3)
    assert list(pd.read_csv(discs.slices)["slice"]) == ["lot=lot 0", "lot=lot 1", "lot=lot 2"]
    assert {"flip", "rotation"}.isdisjoint(pd.read_csv(discs.robustness)["corruption"])
    assert discs.residuals.read_bytes().startswith(b"\x89PNG")


def test_evaluate_need_not_try_corruptions(paths):
    through_head(paths)
    tuned(paths, scratch=False)
    evaluated(paths, corrupted=0)
    assert pd.read_csv(paths.robustness).empty
