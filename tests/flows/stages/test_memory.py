from __future__ import annotations

import subprocess
import sys

import pytest

from flows.stages import memory

VMSTAT, EVENTS = "nr_free_pages 7\noom_kill 2\nthp 9\n", "low 0\noom 1\noom_kill 3\noom_group_kill 5\n"


@pytest.mark.parametrize(("events", "count"), [(EVENTS, 3), ("low 0\n", 2), (None, 2)])
def test_the_containers_counter_is_read_or_else_the_machines(tmp_path, monkeypatch, events, count):
    files = tmp_path / "memory.events", tmp_path / "vmstat"
    files[1].write_text(VMSTAT)
    if events:
        files[0].write_text(events)
    monkeypatch.setattr(memory, "COUNTERS", files)
    assert memory.killed_processes() == count


def test_a_machine_without_counters_has_ended_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "COUNTERS", (tmp_path / "missing",))
    assert memory.killed_processes() == 0


@pytest.mark.parametrize(("end", "killed"), [("kill -9 $$", True), ("exit 9", False), ("kill -15 $$", False)])
def test_dvc_says_how_a_stage_ended(tmp_path, end, killed):
    (tmp_path / "dvc.yaml").write_text(f"stages:\n  one:\n    cmd: {end}\n")
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*dvc, "init", "--no-scm", "--quiet"], cwd=tmp_path, check=True)
    done = subprocess.run([*dvc, "repro"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert memory.was_killed((done.stdout + done.stderr).splitlines()) == killed
