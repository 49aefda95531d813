"""A version registered by 0.1.0 still loads, predicts as before, and works as the live model in comparisons."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from flows.config.parameters import GateSection
from flows.registry.aliases import LIVE
from flows.registry.answer_cache import answers
from flows.registry.store import client
from flows.registry.tags import Tag
from flows.registry.verdict import against
from flows.registry.versions import find, scorer_of
from tasks.core.errors import RootstockError
from tasks.core.paths import Paths
from tasks.core.schema import LABEL_PROBABILITY, Column
from tasks.core.target import TargetSpec
from tasks.evaluation.version_scorer import scorer_thresholds
from tasks.gate.checks import Verdict
from tasks.gate.class_answers import class_answers
from tests.errors import raises
from tests.registered.drawing import COUNT, SHAPES, picture

STORED = Path(__file__).parents[2] / "registered" / "0.1.0"
THEN = pd.read_csv(STORED / "predictions.csv")
GATE = GateSection(metric="nll", margin=0.05, error=0.05, group_margin=0.9, person_decides=False, floors={})


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A copy of what MLflow stored."""
    return shutil.copytree(STORED, tmp_path / "stored")


@pytest.fixture
def live(files, tmp_path, monkeypatch):
    """Returns the version, in a separate registry."""
    before = mlflow.get_tracking_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    tracker: MlflowClient = client()
    tracker.create_registered_model("rootstock")
    tags = json.loads((files / "tags.json").read_text())
    version = tracker.create_model_version("rootstock", files.as_uri(), tags=tags)
    tracker.set_registered_model_alias("rootstock", LIVE, version.version)
    yield find("rootstock", LIVE)
    mlflow.set_tracking_uri(before)


@pytest.fixture
def evaluated(paths, tmp_path) -> Paths:
    """Returns a new challenger's evaluation: the same images, with predictions that are slightly less confident."""
    paths = paths.model_copy(update={"raw": tmp_path / "raw"})
    names = [f"{number}.png" for number in range(COUNT)]
    for folder in (paths.raw, paths.ingest, paths.evaluate):
        folder.mkdir(parents=True)
    for number, name in enumerate(names):
        (paths.raw / name).write_bytes(picture(number))
    rows = {Column.PATH: names, Column.PIXEL_HASH: names, Column.LABEL: THEN["label"]}
    pd.DataFrame(rows).to_parquet(paths.manifest)
    softer = 0.9 * THEN[list(SHAPES)].to_numpy() + 0.1 / 3
    predicted = {Column.PATH: names, Column.LABEL: THEN["label"], Column.DISTRIBUTION: list(softer)}
    pd.DataFrame(predicted).to_parquet(paths.predictions)
    spec = {"targets": [], "classes": list(SHAPES), "label_thresholds": []}
    paths.spec.write_text(json.dumps(spec))
    TargetSpec(classes=SHAPES).save(paths.task)
    return paths


def test_an_old_version_predicts_as_before(live):
    scorer = scorer_of(live)
    probability_NC = scorer.probabilities(picture(number) for number in range(COUNT)).numpy()
    np.testing.assert_allclose(probability_NC, THEN[list(SHAPES)].to_numpy(), atol=1e-4)
    assert scorer.classes == SHAPES
    assert scorer_thresholds(scorer) == []


def test_its_code_is_not_that_of_a_new_version(live):
    from flows.registry.register import TASKS
    from tasks.evaluation.scorer_code import read_code, run_code

    before = type(scorer_of(live))
    now = run_code(read_code(TASKS, b'{"format": 3}')).Scorer
    assert before.__module__ != now.__module__
    assert type(scorer_of(live)) is before


@pytest.mark.parametrize("name", ["scorer.py", "spec.json", "model.safetensors"])
def test_a_changed_file_is_refused_and_not_run(live, files, name):
    file = files / "artifacts" / name
    content = file.read_bytes()
    file.write_bytes(b"raise SystemExit('run')\n" if name == "scorer.py" else content + b" ")
    with raises(RootstockError, "version-changed"):
        scorer_of(live)
    file.unlink()
    with raises(RootstockError, "version-unreadable") as caught:
        scorer_of(live)
    assert name in str(caught.value)
    file.write_bytes(content)
    assert scorer_of(live).classes == SHAPES


def test_a_spec_that_names_another_format_is_refused(live, files):
    spec = files / "artifacts" / "spec.json"
    spec.write_text(json.dumps({**json.loads(spec.read_text()), "format": 9}))
    with raises(RootstockError, "version-unreadable") as caught:
        scorer_of(live)
    assert "format is 9" in str(caught.value)


def test_a_version_without_a_digest_is_refused(live):
    client().delete_model_version_tag("rootstock", live.version, Tag.FILES)
    with raises(RootstockError, "version-changed"):
        scorer_of(find("rootstock", LIVE))


def test_a_new_challenger_is_compared_with_it(live, evaluated):
    rows = pd.read_parquet(evaluated.manifest)
    then = class_answers(THEN[list(SHAPES)].to_numpy(), rows[Column.LABEL], SHAPES)
    pd.testing.assert_frame_equal(answers(live, "a digest", evaluated, rows), then, atol=1e-4, check_dtype=False)
    (cached,) = (evaluated.state / "answers").glob("*.arrow")
    content = cached.read_bytes()
    cached.write_bytes(content[:-9])
    pd.testing.assert_frame_equal(answers(live, "a digest", evaluated, rows), then, atol=1e-4, check_dtype=False)
    assert cached.read_bytes() == content
    relabeled = rows.assign(**{Column.LABEL: rows[Column.LABEL].replace("bar", "disc")})
    now = answers(live, "a digest", evaluated, relabeled)
    assert not now[LABEL_PROBABILITY].equals(then[LABEL_PROBABILITY]), "they are of the present labels"
    checks = against(live, "a digest", evaluated, GATE, ())
    assert checks[0].what == f"nll against live, {COUNT} images"
    assert checks[0].verdict is not Verdict.PASS
    assert checks[0].found.startswith("-0.")  # the same classes with less confidence, so a higher loss


def test_mlflow_loads_it_by_itself(live):
    model = mlflow.pyfunc.load_model(f"models:/rootstock/{live.version}")
    predictions = model.predict(pd.DataFrame({"image": [picture(number) for number in range(COUNT)]}))
    assert list(predictions["label"]) == list(THEN["label"])
    np.testing.assert_allclose(pd.DataFrame(list(predictions["distribution"])), THEN[list(SHAPES)], atol=1e-4)
