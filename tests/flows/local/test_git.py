from __future__ import annotations

import shutil

import pytest

from flows.__main__ import main
from flows.local import git
from tests.project import ROOT, Project


def test_only_code_and_parameters_make_a_checkout_dirty(tmp_path, monkeypatch):
    project = Project(tmp_path)
    project.git("init", "-q")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "pins.json").write_text("{}")
    (tmp_path / "params.yaml").write_text("seed: 0\n")
    project.commit()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.lock").touch()
    (tmp_path / "data" / "raw.dvc").touch()
    (tmp_path / "data" / "pins.json").write_text('{"init": 1}')
    assert git.difference() == ""
    (tmp_path / "params.yaml").write_text("seed: 1\n")
    (tmp_path / "new.py").touch()
    assert "+seed: 1" in git.difference()
    assert "untracked: new.py" in git.difference()
    (tmp_path / "params.yaml").write_bytes("seed: 1 # größer\n".encode("latin-1"))
    assert "+seed: 1 # gr" in git.difference()
    assert len(git.commit()) == 40


def test_outside_of_a_repository_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git.commit() == "none"


@pytest.mark.parametrize("command", ["retrain", "data", "choose"])
def test_without_a_repository_nothing_is_changed(tmp_path, monkeypatch, capsys, command):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.setattr("flows.__main__.CHECKOUT", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert main([command, "--seed", "3"]) == 1
    assert "git init && git add -A && git commit" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]
    assert (tmp_path / "params.yaml").read_bytes() == (ROOT / "params.yaml").read_bytes()


def test_dvc_may_work_without_a_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config.local").write_text("[core]\n    no_scm = true\n")
    git.check_repository()
