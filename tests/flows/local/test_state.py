from __future__ import annotations

import stat

import pytest

from flows.__main__ import main
from flows.local.lock import flow_lock
from flows.local.state import CHILDREN, EVIDENCE, MARKER, open_state
from tasks.core.params import read_document
from tasks.core.paths import File, StageFiles
from tests.project import ROOT


@pytest.fixture
def clean(tmp_path, monkeypatch):
    """Returns a function that runs `clean` with this folder as paths.state, and returns its exit code."""
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    monkeypatch.setattr("flows.__main__.CHECKOUT", checkout)
    monkeypatch.chdir(checkout)

    def run(state):
        document = read_document(ROOT / "params.yaml")
        lines = "".join(f"  {name}: {path}\n" for name, path in {**document["paths"], "state": state}.items())
        (checkout / "params.yaml").write_text(f"paths:\n{lines}")
        return main(["clean"])

    return run


def content(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_the_folder_of_a_flow_is_removed(clean, tmp_path):
    state = tmp_path / "new" / "state"
    with flow_lock(state, "retrain"):
        (state / "source").mkdir()
        (state / ".facts.json.123.tmp").touch()
    assert (state / MARKER).is_file()
    assert clean(state) == 0
    assert not state.exists()
    assert clean(state) == 0


def test_what_rootstock_does_not_write_is_left_and_named(clean, tmp_path, capsys):
    open_state(tmp_path / "state")
    for name in ("features", "thesis"):
        (tmp_path / "state" / name).mkdir()
    (tmp_path / "elsewhere.md").write_text("mine")
    (tmp_path / "state" / "result.md").symlink_to(tmp_path / "elsewhere.md")
    assert clean(tmp_path / "state") == 0
    assert content(tmp_path / "state") == [MARKER, "thesis"]
    assert (tmp_path / "elsewhere.md").read_text() == "mine"
    assert "does not write it: thesis" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("names", "fact"),
    [
        (["thesis.md", "logs/day.log"], "holds thesis.md"),
        (["logs/day.log", "source/main.c"], "nothing in it is Rootstock's"),  # by chance the names of our folders
        (["thesis.md", "flow.lock", "flow.json", "facts.json"], "holds thesis.md"),  # a flow has run with it
        ([MARKER, "thesis.md"], "holds thesis.md"),  # another program's
    ],
)
def test_a_folder_of_another_origin_is_left_as_it_is(clean, tmp_path, capsys, names, fact):
    for name in names:
        (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / name).write_text("mine")
    before = content(tmp_path / "mine")
    assert clean(tmp_path / "mine") == 1
    assert content(tmp_path / "mine") == before
    assert fact in capsys.readouterr().err


def test_a_folder_in_use_by_a_person_is_not_marked(tmp_path):
    (tmp_path / "thesis.md").touch()
    mode = tmp_path.stat().st_mode
    with flow_lock(tmp_path, "retrain"):
        assert not (tmp_path / MARKER).exists()
    assert tmp_path.stat().st_mode == mode


def test_the_folder_of_an_earlier_version_is_removed(clean, tmp_path):
    state = tmp_path / "state"
    for name in ("source", "reports", "features"):
        (state / name).mkdir(parents=True)
    (state / "flow.lock").touch()
    assert clean(state) == 0
    assert not state.exists()


def test_a_link_to_another_disk_stays(clean, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "state").symlink_to(tmp_path / "disk")
    with flow_lock(tmp_path / "state", "retrain"):
        (tmp_path / "state" / "features").mkdir()
    assert clean(tmp_path / "state") == 0
    assert content(tmp_path / "disk") == [MARKER]


def test_only_the_owner_reads_a_new_folder_or_the_group_that_shares_it(tmp_path):
    open_state(tmp_path / "alone")
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o2775)
    open_state(shared / "state")
    modes = [stat.S_IMODE(folder.stat().st_mode) for folder in (tmp_path / "alone", shared / "state")]
    assert modes == [0o700, 0o2770]


def test_all_files_of_stages_are_among_the_names():
    names = {file.name for file in vars(StageFiles).values() if isinstance(file, File) and file.folder == "state"}
    assert len(names) > 3
    assert names <= CHILDREN
    assert EVIDENCE <= CHILDREN
