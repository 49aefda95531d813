"""A registered version contains exactly the files it needs to predict, and loads only if they are unchanged."""

from __future__ import annotations

import importlib.util
import pickle
from pathlib import Path
from types import SimpleNamespace

import mlflow
import numpy as np
import pandas as pd
import pytest

from flows.registry import register, trusted_code
from flows.registry.register import key_of
from flows.registry.review import _text, allow, show_code
from flows.registry.shared_scorer import shared_scorer
from flows.registry.store import client
from flows.registry.tags import Tag
from flows.registry.versions import find, scorer_of
from tasks.core.errors import RootstockError
from tasks.evaluation.scorer_code import CODE_FILES, digest_of, read_code
from tasks.scorer.answer import FORMAT, Scorer
from tests.errors import raises
from tests.flows.registry.conftest import PICTURES, STRAY
from tests.flows.registry.test_scorer_code import plant
from tests.registered.drawing import SHAPES


def loaded(version, **how):
    return mlflow.pyfunc.load_model(f"models:/rootstock/{version.version}", **how)


def test_the_files_of_the_format_are_stored_and_nothing_that_lies_beside_them(stored):
    artifacts = {str(file.relative_to(stored / "artifacts")) for file in (stored / "artifacts").rglob("*.*")}
    assert artifacts == {*CODE_FILES[FORMAT], "spec.json", "model.safetensors", "golden/answer.json"}
    assert (stored / "artifacts" / "golden" / "picture").read_bytes() in PICTURES
    assert not [file for file in stored.rglob("*") if file.suffix in {".pyc", ".pkl", ".pickle", ".pth"}]


def test_a_registered_version_predicts_like_the_projects_code(version, evaluated):
    scorer = scorer_of(version)
    assert type(scorer) is not Scorer
    ours = Scorer.load(evaluated.spec, evaluated.tuned).probabilities(PICTURES).numpy()
    np.testing.assert_allclose(scorer.probabilities(PICTURES), ours, atol=1e-6)
    answers = loaded(version).predict(pd.DataFrame({"image": PICTURES}))
    np.testing.assert_allclose(pd.DataFrame(list(answers["distribution"])), ours, atol=1e-6)


def test_a_copy_for_workers_is_loaded_in_another_process_only_as_it_was_checked(version, stored, tmp_path):
    copy = pickle.loads(pickle.dumps(shared_scorer(version, tmp_path / "shared")))  # noqa: S301 - as Dask does
    np.testing.assert_array_equal(copy().probabilities(PICTURES), scorer_of(version).probabilities(PICTURES))
    (copy.spec.parent / "scorer" / "answer.py").write_text(STRAY)
    with raises(RootstockError, "weights-changed"):
        copy()
    (stored / "artifacts" / "scorer" / "answer.py").write_text(STRAY)
    with raises(RootstockError, "version-changed"):
        shared_scorer(version, tmp_path / "shared")


@pytest.mark.parametrize("name", ["scorer/decode.py", "scorer/answer.py"])
def test_a_stale_pyc_beside_what_is_stored_is_not_run(version, stored, name):
    pyc = plant(stored / "artifacts" / name, STRAY.encode())
    before = pyc.read_bytes()
    assert scorer_of(version).classes == SHAPES
    assert len(loaded(version).predict(pd.DataFrame({"image": PICTURES[:2]}))) == 2
    assert pyc.read_bytes() == before
    ordinary = importlib.util.spec_from_file_location("ordinary", stored / "artifacts" / name)
    with pytest.raises(SystemExit):
        ordinary.loader.exec_module(importlib.util.module_from_spec(ordinary))


def test_code_that_somebody_else_registered_is_not_run_until_a_person_allows_it(version, stored, monkeypatch, tmp_path):
    """The attacker can write files and tags: the digest of the changed files is in the tag."""
    monkeypatch.setattr(trusted_code, "ALLOWED", tmp_path / "allowed.txt")
    artifacts = stored / "artifacts"
    answer = artifacts / "scorer" / "answer.py"
    answer.write_bytes(answer.read_bytes() + b"\nprint('run')\n")
    spec = (artifacts / "spec.json").read_bytes()
    digest = digest_of(read_code(artifacts, spec), spec, artifacts / "model.safetensors")
    client().set_model_version_tag("rootstock", version.version, Tag.FILES, digest)
    with raises(RootstockError, "code-not-trusted"):
        scorer_of(find("rootstock", str(version.version)))
    with raises(RootstockError, "code-not-read"):
        allow("rootstock", str(version.version), "not read", tmp_path / "review")
    shown = show_code("rootstock", str(version.version), tmp_path / "review")
    place = Path(shown.splitlines()[1])
    assert "print('run')" in (place / "scorer" / "answer.py.txt").read_text()
    assert "may run on this machine" in allow(
        "rootstock", str(version.version), "read by a tester", tmp_path / "review"
    )
    assert scorer_of(find("rootstock", str(version.version))).classes == SHAPES
    assert "may run already" in show_code("rootstock", str(version.version), tmp_path / "review")


@pytest.mark.parametrize("code", [b"# coding: utf-7\n", b"x = 1  # \xe2\x80\xae\n", b"# \r x = 1\n", b"# \xff\n"])
def test_code_that_a_person_would_read_differently_is_not_shown(code):
    with raises(RootstockError, "code-not-readable"):
        _text("scorer/answer.py", code)


@pytest.mark.parametrize("name", [*CODE_FILES[FORMAT], "spec.json", "model.safetensors"])
def test_a_changed_file_is_refused_and_not_run(version, stored, name):
    file = stored / "artifacts" / name
    file.write_bytes(STRAY.encode() if name.endswith(".py") else file.read_bytes() + b" ")
    with raises(RootstockError, "version-changed"):
        scorer_of(version)
    with pytest.raises(Exception, match="does not hold what was registered"):
        loaded(version)


def test_a_caller_can_give_mlflow_the_digest_that_the_registry_has(version):
    digest = client().get_model_version("rootstock", version.version).tags[Tag.FILES]
    assert loaded(version, model_config={"files": digest}) is not None
    with pytest.raises(Exception, match="does not hold what was registered"):
        loaded(version, model_config={"files": "the digest of other files"})


@pytest.mark.parametrize("name", CODE_FILES[FORMAT])
def test_each_shipped_file_is_part_of_the_key(evaluated, name):
    before = key_of(evaluated)
    file = register.TASKS / name
    file.write_bytes(file.read_bytes() + b"\n")
    assert key_of(evaluated) != before


def test_what_is_not_shipped_is_no_part_of_the_key(evaluated):
    before = key_of(evaluated)
    (register.TASKS / "scorer" / "stray.py").write_text("")
    assert key_of(evaluated) == before


@pytest.fixture
def registered(version, evaluated, monkeypatch):
    """Returns a function that registers the results in a run; the proof needs images, so here each version passes."""
    monkeypatch.setattr(register, "key_of", lambda _paths: "a key")
    monkeypatch.setattr(register.dvc_cli, "push", lambda: None)
    monkeypatch.setattr(register, "prove", lambda _version, _paths: None)

    def by(run_id):
        experiment = client().get_run(version.run_id).info.experiment_id
        run = SimpleNamespace(client=client(), experiment=experiment, id=run_id, log_results=lambda: None)
        return register.register_version(run, "rootstock", evaluated)

    return by


def numbers():
    return sorted(int(each.version) for each in client().search_model_versions("name = 'rootstock'"))


def another_run(version):
    return client().create_run(client().get_run(version.run_id).info.experiment_id).info.run_id


def test_a_run_that_was_killed_goes_on_with_its_version(version, registered):
    assert registered(version.run_id)[0].version == version.version
    assert registered(another_run(version))[1] is False
    assert numbers() == [int(version.version)]


def test_the_version_of_a_run_that_ended_before_its_proof_is_replaced(version, registered):
    client().set_terminated(version.run_id, "KILLED")
    made, is_new = registered(another_run(version))
    assert is_new
    assert made.run_id != version.run_id
    assert numbers() == [int(made.version)]


@pytest.mark.parametrize("left", ["proof", "alias", "running"])
def test_a_version_that_is_proved_has_an_alias_or_is_in_work_is_not_removed(version, registered, left):
    if left != "running":
        client().set_terminated(version.run_id, "KILLED")
    if left == "proof":
        client().set_model_version_tag("rootstock", version.version, Tag.PROOF, "passed")
    if left == "alias":
        client().set_registered_model_alias("rootstock", "mine", version.version)
    made, _ = registered(another_run(version))
    assert numbers() == [int(version.version), int(made.version)]


def test_of_two_runs_that_register_the_same_content_at_once_the_quicker_counts(version, registered, monkeypatch):
    monkeypatch.setattr(
        register, "prove", lambda slow, _paths: slow.run_id == version.run_id or registered(version.run_id)
    )
    made, is_new = registered(another_run(version))
    assert (made.version, is_new) == (version.version, False)
    assert numbers() == [int(version.version)]
