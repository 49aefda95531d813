"""Numbers instead of classes through the whole flow: registered, judged, predicted."""

from __future__ import annotations

import re

import mlflow
import pandas as pd
import pytest

from flows.registry.aliases import LIVE
from flows.registry.register import TOLERANCE
from flows.registry.tags import Tag
from tasks.core.errors import EXIT_UNDECIDED
from tasks.serving.golden import Golden
from tests.drawn import write_discs


@pytest.mark.slow
def test_targets_from_a_table_to_predictions(prepared, tmp_path):
    project = prepared.copy(tmp_path / "project")
    table = write_discs(tmp_path / "discs")
    done = project.retrain("--data.source", str(table), "--data.targets", "[radius, x]", "--gate.floors.r2", "-9")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "targets radius, x: 24 train, 12 validation, 12 test" in done.stdout
    assert re.search(r"^mean of train +\d", done.stdout, re.MULTILINE)
    assert re.search(r"^model +mean abs. error, in std +95% interval +R²", done.stdout, re.MULTILINE)
    (version,) = project.versions()
    assert version.tags[Tag.VERDICT] == "pass"
    assert "a number per target" in version.description
    (folder,) = (project.root / ".registry" / "artifacts").rglob("MLmodel")
    model = mlflow.pyfunc.load_model(str(folder.parent))
    assert [column.name for column in model.metadata.signature.outputs] == ["radius", "x", "error"]
    picture = tmp_path / "discs" / "3.png"
    answer = model.predict(pd.DataFrame({"image": [picture.read_bytes(), picture]}))
    assert list(answer.columns) == ["radius", "x", "error"]
    assert answer["radius"][0] == answer["radius"][1]
    golden = Golden.read(folder.parent / "artifacts")
    assert set(golden.scale) == {"radius", "x"}
    assert golden.difference(model.predict(model.input_example).drop(columns="error").iloc[0]) <= TOLERANCE

    said = project.flows("predict", str(picture), "--model", "challenger").stdout
    assert float(re.search(r"radius (\S+), x", said)[1]) == pytest.approx(answer["radius"][0], rel=1e-3)
    out = tmp_path / "out"
    assert project.flows("predict", str(table), "--model", "challenger", "--out", str(out)).returncode == 0
    assert list(pd.read_csv(out / "predictions.csv").columns) == ["path", "radius", "x", "reason"]

    project.mlflow().set_registered_model_alias("rootstock", LIVE, "1")
    done = project.retrain("--evaluate.bins", "12", "--gate.margin", "0.001", "--evaluate.slices", "[lot]")
    assert done.returncode in {0, EXIT_UNDECIDED}, done.stdout + done.stderr
    assert "mae against live, 12 images, relative: +0.0000" in done.stdout
