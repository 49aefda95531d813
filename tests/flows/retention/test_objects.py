"""DVC's objects after a removal, with the real DVC."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from flows.registry.store import client
from flows.retention import objects
from flows.retention.leftovers import old_leftovers
from flows.stages import dvc_cli, dvc_versions
from tasks.core.errors import RootstockError
from tasks.core.files import write_json
from tests.errors import raises
from tests.project import ROOT, Project


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """Creates a repository with DVC's settings and a local remote, and changes into it."""
    root = tmp_path / "checkout"
    shutil.copytree(ROOT / ".dvc", root / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp", "config.local"))
    (root / "data").mkdir()
    project = Project(root)
    project.git("init", "--quiet")
    project.commit()
    monkeypatch.chdir(root)
    monkeypatch.setattr(objects, "MAIN_CHECKOUT", root)
    monkeypatch.setattr(objects, "REGISTRY", root / ".registry")
    return root


def run_with_lock(name: str, md5: str, features: str = "0" * 32) -> str:
    """Returns a run whose dvc.lock has stages that depend on folders with these MD5s, of which one makes features."""
    experiment, folder = client().get_experiment_by_name(name), Path("../artifacts").resolve()
    number = experiment.experiment_id if experiment else client().create_experiment(name, folder.as_uri())
    run = client().create_run(number)
    Path("dvc.lock").touch()
    with Path("dvc.lock").open("w") as file:
        made = [{"path": "data/features", "md5": features}]
        stages = {"ingest": {"deps": [{"path": "data/raw", "md5": md5}]}, "features": {"outs": made}}
        YAML().dump({"stages": {**stages, "head": {"deps": made}}}, file)
    client().log_artifact(run.info.run_id, "dvc.lock", "lineage")
    Path("dvc.lock").unlink()
    return run.info.run_id


def objects_in(folder: Path) -> set[str]:
    return {f"{file.parent.name}{file.name}" for file in (folder / "files" / "md5").rglob("*") if file.is_file()}


def test_data_of_kept_versions_stays_and_other_data_goes_from_cache_and_remote(checkout, tmp_path):
    """Three versions of a folder: data of a kept model version, its features, and in the checkout."""
    source, target, md5s, contents = tmp_path / "source", Path("data/raw"), [], []
    source.mkdir()
    for number in range(3):
        (source / "0.png").write_bytes(b"picture %d" % number)
        dvc_versions.track(source, target)
        dvc_cli.push()
        md5s.append(dvc_cli.tracked_md5(target))
        contents.append(objects_in(checkout / ".dvc" / "cache") - set().union(*contents))
    locks = objects.stored_locks([run_with_lock("objects", md5s[0], md5s[1])])
    places = (checkout / ".dvc" / "cache", checkout / ".registry" / "dvc")
    assert all(len(objects_in(place)) == 6 for place in places)
    (places[0] / "files" / "md5" / md5s[0][:2] / md5s[0][2:]).unlink()  # its list is only in the remote
    lines = objects.collect(locks, shared=False)
    assert all(objects_in(place) == contents[0] | contents[2] for place in places), lines
    dvc_cli.refuse_edits(target)


def test_without_a_versions_lineage_nothing_is_removed(checkout, tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "0.png").write_bytes(b"picture")
    dvc_versions.track(tmp_path / "source", Path("data/raw"))
    dvc_cli.dvc_file(Path("data/raw")).unlink()
    before = objects_in(checkout / ".dvc" / "cache")
    with raises(RootstockError, "no-lineage"):
        objects.stored_locks(["0" * 32])
    lost = "stages: {ingest: {deps: [{path: data/raw, md5: 0123456789abcdef0123456789abcdef.dir}]}}"
    with raises(RootstockError, "no-lineage"):
        objects.collect([lost], shared=False)
    assert objects_in(checkout / ".dvc" / "cache") == before


def test_a_cache_that_others_may_use_is_left_as_it_is(checkout, tmp_path):
    dvc_cli.dvc("cache", "dir", "--local", str(tmp_path / "shared"))
    lines = objects.collect([], shared=False)
    assert "--shared" in lines[-1]
    assert str(tmp_path / "shared") in lines[-1]


def test_a_remote_elsewhere_is_left_as_it_is(checkout, tmp_path):
    dvc_cli.dvc("remote", "modify", "--local", "local", "url", str(tmp_path / "elsewhere"))
    assert dvc_cli.remote_url() == str(tmp_path / "elsewhere")
    assert "remote may be shared" in objects.collect([], shared=False)[-1]


def test_unused_sources_are_leftovers_and_used_ones_are_not(params, tmp_path, monkeypatch):
    monkeypatch.setattr("flows.retention.leftovers.MAIN_CHECKOUT", tmp_path)
    paths = params().paths
    used, unused, recent = (paths.state / "source" / name for name in ("archive-1", "archive-2", "archive-3"))
    for folder in (used, unused, recent):
        (folder / "inside").mkdir(parents=True)
    write_json(paths.state / "source" / "raw.json", {"source": str(used / "inside")})
    write_json(paths.state / "source" / "teacher.json", {"unfinished": "here"})
    for path in (used, unused):
        os.utime(path, (0, 0))
    leftovers = old_leftovers(paths, time.time() - 3600)
    assert {path.name for path in leftovers} == {"archive-2"}


def test_data_of_a_stash_and_of_another_branch_stays(checkout, tmp_path):
    """Three versions of a folder: committed on a branch that is not checked out, stashed, and in the checkout."""
    project, source, target = Project(checkout), tmp_path / "source", Path("data/raw")
    source.mkdir()
    for number, keep in enumerate((("checkout", "-q", "-b", "other"), ("stash",), ())):
        (source / "0.png").write_bytes(b"picture %d" % number)
        dvc_versions.track(source, target)
        project.git("add", "--all", "data")
        if keep[:1] == ("checkout",):
            project.git(*keep)
            project.git("commit", "-q", "-m", "on a branch")
            project.git("checkout", "-q", "-")
        elif keep:
            project.git(*keep)
    before = objects_in(checkout / ".dvc" / "cache")
    assert len(before) == 6
    objects.collect([], shared=False)
    assert objects_in(checkout / ".dvc" / "cache") == before
