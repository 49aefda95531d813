"""The golden picture of a version is the test picture with the largest margin, and the version still answers so."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import pytest

from flows.registry.golden_picture import MARGINS, golden_of
from flows.registry.register import TOLERANCE
from flows.registry.versions import scorer_of
from tasks.core.target import TargetKind, TargetSpec
from tasks.serving.golden import MAX_BYTES, Golden
from tests.flows.registry.conftest import PICTURES, write_pictures, written


def test_a_version_holds_the_surest_picture_with_the_evaluated_answer(version, stored, evaluated):
    rows, golden = pd.read_parquet(evaluated.predictions), Golden.read(stored / "artifacts")
    best = rows.loc[rows["probability"].idxmax()]
    assert golden.picture == (evaluated.raw / best["path"]).read_bytes()
    assert golden.label == best["predicted"]
    assert golden.outputs[golden.label] == pytest.approx(best["probability"], abs=1e-6)
    scorer = scorer_of(version)
    assert golden.difference(scorer.row(scorer.logits([golden.picture])[0])) < TOLERANCE


def test_large_pictures_are_not_stored(evaluated):
    rows = pd.read_parquet(evaluated.predictions)
    first, second, *_ = rows.sort_values("probability", ascending=False)["path"]
    os.truncate(evaluated.raw / first, MAX_BYTES + 1)
    assert golden_of(evaluated, rows).picture == (evaluated.raw / second).read_bytes()
    for name in rows["path"]:
        os.truncate(evaluated.raw / name, MAX_BYTES + 1)
    assert golden_of(evaluated, rows) is None


def test_every_kind_has_a_margin():
    assert set(MARGINS) == set(TargetKind)
    rows = pd.DataFrame({"distribution": [np.float32([0.9, 0.52]), np.float32([0.3, 0.9])]}, [0, 7])
    margin_N = MARGINS[TargetKind.MULTILABEL](rows, {"label_thresholds": [0.6, 0.5]})
    assert margin_N.to_dict() == {0: pytest.approx(0.02), 7: pytest.approx(0.3)}


def test_of_numbers_the_deviations_are_recorded(paths, tmp_path):
    target = TargetSpec(TargetKind.REGRESSION, targets=("w", "h"), mean_K=(0.0, 0.0), std_K=(2.0, 3.0))
    paths = written(paths.model_copy(update={"raw": tmp_path / "raw"}), target, targets=target.targets)
    golden = golden_of(paths, pd.DataFrame({"path": write_pictures(paths)}))
    assert (golden.picture, golden.label, golden.scale) == (PICTURES[0], None, {"w": 2.0, "h": 3.0})
    assert set(golden.outputs) == {"w", "h"}
