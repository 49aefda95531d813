"""Several labels per image through the whole flow: registered, judged, predicted."""

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
from tests.drawn import write_scenes


@pytest.mark.slow
def test_several_labels_from_a_table_to_predictions(prepared, tmp_path):
    project = prepared.copy(tmp_path / "project")
    table = write_scenes(tmp_path / "scenes")
    done = project.retrain("--data.source", str(table), "--data.separator", ";", "--scratch.run", "false")
    assert done.returncode in {0, 3}, done.stdout + done.stderr
    assert "2 labels: " in done.stdout
    assert re.search(r"^model +exactly right +95% interval +macro F1 +mAP", done.stdout, re.MULTILINE)
    (version,) = project.versions()
    assert "all labels whose probability reaches their own threshold" in version.description
    (folder,) = (project.root / ".registry" / "artifacts").rglob("MLmodel")
    model = mlflow.pyfunc.load_model(str(folder.parent))
    picture = tmp_path / "scenes" / "3.png"
    answer = model.predict(pd.DataFrame({"image": [picture.read_bytes()] * 2}))
    assert set(answer["distribution"][0]) == {"bar", "disc"}
    golden = Golden.read(folder.parent / "artifacts")
    assert golden.difference(model.predict(model.input_example).iloc[0]) <= TOLERANCE

    said = project.flows("predict", str(picture), "--model", "challenger").stdout
    assert re.search(r"3\.png: \S.*; bar \d+\.\d%, disc \d+\.\d%", said)
    out = tmp_path / "out"
    assert project.flows("predict", str(table), "--model", "challenger", "--out", str(out)).returncode == 0
    assert set(pd.read_csv(out / "predictions.csv", keep_default_na=False)["label"]) <= {"", "bar", "disc", "bar|disc"}

    project.mlflow().set_registered_model_alias("rootstock", LIVE, "1")
    changed = ("--evaluate.bins", "12", "--gate.margin", "0.001", "--evaluate.slices", "[lot]")
    done = project.retrain(*changed, "--gate.floors.accuracy", "0.0")
    assert done.returncode in {0, EXIT_UNDECIDED}, done.stdout + done.stderr
    assert "exactly the right labels, against live, 20 images: +0.0000" in done.stdout
    assert version.tags[Tag.VERDICT]
