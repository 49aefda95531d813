"""The result file and the table; processes are told apart by their command lines."""

from __future__ import annotations

import pytest

from tests.soak.cycle import Outcome
from tests.soak.damage import cut, empty, overwrite
from tests.soak.processes import is_dvc, stage_in
from tests.soak.results import Results, line_of, table

GOOD = Outcome(3, "fresh", None, [("flow", "KILL", "head"), ("dvc", "HUP", "register")], 1, [], "", 60.0)
BROKEN = Outcome(4, "head", "clock jumps", [], 0, [("no lock is held", "flow.lock")], "", 30.0)
LEFT_OUT = Outcome(5, "head", "data read-only", [], 0, [], "no read-only folder can be mounted", 2.0)


def test_an_interrupted_soak_goes_on_from_its_file_without_a_torn_line(tmp_path):
    file = tmp_path / "seed-0.jsonl"
    for outcome in (GOOD, BROKEN):
        Results(file).add(outcome)
    with file.open("a") as opened:
        opened.write('{"number": 5, "scen')
    assert Results(file).outcomes == {3: GOOD, 4: BROKEN}
    Results(file).add(LEFT_OUT)
    assert Results(file).outcomes == {3: GOOD, 4: BROKEN, 5: LEFT_OUT}


def test_the_table_counts_what_was_hit_and_says_how_to_repeat_what_broke():
    lines = table([BROKEN, GOOD, LEFT_OUT], "python -m tests.soak --seed 7").splitlines()
    assert lines[0] == "3 cycles, 2 blows, 1 missed their victim"
    assert "phase     stages 1, registration 1" in lines
    assert "condition clock jumps 1" in lines
    assert "left out  data read-only: no read-only folder can be mounted" in lines
    assert lines[-1].strip() == "python -m tests.soak --seed 7 --only 4"


def test_a_line_says_how_a_cycle_ended():
    assert line_of(GOOD).endswith("(60 s)  ok")
    assert "BROKEN" in line_of(BROKEN)
    assert "left out" in line_of(LEFT_OUT)


@pytest.mark.parametrize(
    ("line", "stage", "dvc"),
    [
        (["python", "/c/flows/stages/dvc_command.py", "repro", "--single-item", "head"], "head", True),
        (["python", "/c/flows/stages/dvc_command.py", "status", "--json", "head"], None, True),
        (["python", "-m", "tasks", "finetune"], "finetune", False),
        (["python", "-m", "flows", "retrain"], None, False),
    ],
)
def test_processes_are_told_apart(line, stage, dvc):
    assert (stage_in(line), is_dvc(line)) == (stage, dvc)


@pytest.mark.parametrize("way", [cut, overwrite, empty])
@pytest.mark.parametrize("size", [1, 100, 5000])
def test_a_damage_changes_a_file(tmp_path, way, size):
    file = tmp_path / "file"
    file.write_bytes(bytes(size))
    way(file)
    assert file.read_bytes() != bytes(size)
