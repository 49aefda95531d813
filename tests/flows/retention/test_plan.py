"""What a real registry keeps, and what is left when a removal is interrupted."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from flows.registry.aliases import CHAMPION, PRODUCTION
from flows.registry.ledger import Ledger
from flows.registry.store import client
from flows.registry.tags import Tag
from flows.registry.verdict import NONE
from flows.retention import removal
from flows.retention.plan import DAY_MS, RetentionPlan, make_plan, versions_of
from tests.flows.conftest import Registry

DAYS = 90


class Past:
    """A model with its own experiment; each version comes from its own run, and everything is 100 days old."""

    def __init__(self, registry: Registry, params) -> None:
        self.registry, self.name = registry, registry.name
        where = str(registry.folder / "artifacts")
        self.experiment = client().create_experiment(registry.name, artifact_location=where)
        Path("params.yaml").write_text(f"weights: models:/{self.name}/@live\n")
        self.params = params(
            register={"model": registry.name, "experiment": registry.name},
            retention={"keep_lives": 1, "keep_days": DAYS},
        )

    def run(self, **tags: str):
        run = client().create_run(self.experiment, tags={Tag.CHECKOUT: "here", **tags})
        client().log_text(run.info.run_id, "a result", "result.txt")
        client().set_terminated(run.info.run_id)
        return run

    def version(self) -> str:
        run = self.run()
        logged = client().create_logged_model(self.experiment, name=self.name, source_run_id=run.info.run_id)
        folder = Path(logged.artifact_location)
        folder.mkdir(parents=True)
        (folder / "weights").touch()
        source, tags = f"models:/{logged.model_id}", {Tag.KEY: "of a result"}
        created = client().create_model_version(
            self.name, source, run_id=run.info.run_id, tags=tags, model_id=logged.model_id
        )
        return str(created.version)

    def release(self, *versions: str) -> None:
        for version in versions:
            self.registry.judge(version, self.registry.at("live") or NONE)
            self.registry.request(version)
            self.registry.reconcile()

    def plan(self, days: int = 100) -> RetentionPlan:
        now = int(time.time() * 1000) + days * DAY_MS
        return make_plan(self.params, Ledger(self.registry.ledger), now)

    def remove(self, plan: RetentionPlan) -> list[str]:
        return removal.remove_from_mlflow(plan, self.name, self.registry.ledger)

    def left(self) -> set[str]:
        return {str(version.version) for version in versions_of(self.name)}


@pytest.fixture
def past(registry, params):
    return Past(registry, params)


def test_live_versions_aliases_and_young_ones_are_kept_and_the_rest_goes_with_its_files(past):
    first, second, third, fourth, fifth = (past.version() for _ in range(5))
    past.release(first, second, third)
    client().set_registered_model_alias(past.name, "mine", fourth)
    assert past.plan(days=DAYS - 1).ids() == set()
    plan = past.plan()
    assert plan.kept == {second: "was live", third: f"{CHAMPION}, live", fourth: "mine"}
    assert {str(version.version) for version in plan.versions} == {first, fifth}
    files = [Path(run.info.artifact_uri) for run in plan.runs]
    assert len(files) == 2
    assert all(file.exists() for file in files)
    past.remove(plan)
    assert past.left() == {second, third, fourth}
    assert not any(file.parent.exists() for file in files)
    assert past.plan().ids() == set()
    assert len(client().search_logged_models([past.experiment])) == 3


def test_what_rootstock_did_not_make_is_never_removed(past):
    theirs = past.registry.version()
    client().create_run(past.experiment)
    assert past.plan().ids() == set()
    assert past.plan().kept == {theirs: "not made by Rootstock"}


def test_a_copy_is_kept_until_it_is_answered_and_its_original_with_it(past):
    original = past.version()
    client().create_registered_model(f"{past.name}{PRODUCTION}")
    past.registry.copy(original)
    assert past.plan().kept == {original: f"copied to {past.name}{PRODUCTION}"}
    client().set_model_version_tag(f"{past.name}{PRODUCTION}", "1", Tag.RELEASE, "refused: because")
    assert {each.name for each in past.plan().versions} == {past.name, f"{past.name}{PRODUCTION}"}


def test_a_version_named_in_params_is_kept(past):
    named, other = past.version(), past.version()
    Path("params.yaml").write_text(f"compare: {{teacher.weights: 'models:/{past.name}/{named}'}}\n")
    assert past.plan().kept == {named: "named in params.yaml"}
    assert [str(each.version) for each in past.plan().versions] == [other]


def test_an_interrupted_removal_is_continued(past, monkeypatch):
    versions = [past.version() for _ in range(3)]
    last = past.run()
    removed = []

    def killed(run_id: str) -> None:
        if len(removed) == 2:
            raise KeyboardInterrupt
        removed.append(run_id)
        original(run_id)

    original = removal.remove_run
    monkeypatch.setattr(removal, "remove_run", killed)
    with pytest.raises(KeyboardInterrupt):
        past.remove(past.plan())
    assert past.left() == set()
    left = past.plan()
    assert len(left.runs) == len(versions) + 1 - 2
    monkeypatch.setattr(removal, "remove_run", original)
    past.remove(left)
    assert past.plan().ids() == set()
    assert not Path(last.info.artifact_uri).exists()


def test_an_alias_given_after_the_plan_saves_a_version(past):
    version, other = past.version(), past.version()
    plan = past.plan()
    client().set_registered_model_alias(past.name, "mine", version)
    past.remove(plan)
    assert past.left() == {version}
    assert other not in past.left()
    kept = client().get_model_version(past.name, version)
    assert Path(client().get_run(kept.run_id).info.artifact_uri).exists()
    assert client().get_logged_model(kept.source.removeprefix("models:/"))


def test_only_what_was_shown_is_removed(past):
    shown, later = past.version(), past.version()
    ids = {name for name in past.plan().ids() if name.startswith(f"{past.name}/{shown} ")}
    plan = past.plan().only(ids)
    assert [str(each.version) for each in plan.versions] == [shown]
    assert plan.runs == ()
    assert later in past.left()


def test_a_run_of_another_models_version_is_kept_in_the_same_experiment(past):
    """Somebody has renamed the model, or copied a version to a model of their own."""
    version = client().get_model_version(past.name, past.version())
    client().create_registered_model(f"{past.name}-theirs")
    theirs = client().copy_model_version(f"models:/{past.name}/{version.version}", f"{past.name}-theirs")
    plan = past.plan()
    assert plan.runs == ()
    past.remove(RetentionPlan(plan.versions, (client().get_run(version.run_id),)))
    assert client().get_logged_model(version.source.removeprefix("models:/"))
    assert client().get_model_version(theirs.name, theirs.version)


def test_a_registry_that_does_not_answer_is_no_empty_registry(past, monkeypatch):
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    past.version()

    def locked(*_arguments: object) -> None:
        raise MlflowException("database is locked")

    monkeypatch.setattr(MlflowClient, "get_registered_model", locked)
    with pytest.raises(MlflowException, match="locked"):
        past.plan()


def test_a_run_that_cannot_be_removed_is_told_and_the_others_go(past, monkeypatch):
    runs = [past.run() for _ in range(3)]
    original = removal.remove_run

    def refused(run_id: str) -> None:
        if run_id == runs[1].info.run_id:
            raise PermissionError("somebody else's")
        original(run_id)

    monkeypatch.setattr(removal, "remove_run", refused)
    (failure,) = past.remove(past.plan())
    assert runs[1].info.run_id in failure
    assert "somebody else's" in failure
    assert past.plan().ids() == {runs[1].info.run_id}
