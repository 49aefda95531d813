"""Projects shared by all workers are built once and never modified."""

from __future__ import annotations

import pytest

from tests import session
from tests.groups import GROUPS, group_of
from tests.project import ROOT, Project
from tests.whole_runs import unchanged


def test_what_is_built_once_is_not_built_again(tmp_path, monkeypatch):
    monkeypatch.setattr(session, "FOLDER", tmp_path)
    assert [session.once("name", lambda text=text: text) for text in ("first", "second")] == ["first"] * 2


def test_what_failed_is_built_again(tmp_path, monkeypatch):
    monkeypatch.setattr(session, "FOLDER", tmp_path)
    with pytest.raises(ZeroDivisionError):
        session.once("name", lambda: str(1 / 0))
    assert session.once("name", lambda: "second") == "second"


@pytest.mark.parametrize("change", ["write", "remove", "add"])
def test_a_change_of_a_shared_project_fails(tmp_path, change):
    file = tmp_path / "file"
    file.write_text("text")
    with pytest.raises(AssertionError, match="a test changed"), unchanged(Project(tmp_path)):
        {"write": lambda: file.write_text("other"), "remove": file.unlink, "add": (tmp_path / "new").touch}[change]()


def test_reading_a_shared_project_does_not_change_it(tmp_path):
    (tmp_path / "file").write_text("text")
    with unchanged(Project(tmp_path)) as project:
        assert (project.root / "file").read_text() == "text"


def test_tests_of_a_group_are_selected_by_their_files():
    assert GROUPS
    assert all((ROOT / file).is_file() for file in GROUPS)
    assert group_of("tests/deploy/test_ci.py::test_a[b::c]") == "served"
    assert group_of("tests/test_graph.py::test_a") is None
