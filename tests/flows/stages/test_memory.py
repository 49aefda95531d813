from __future__ import annotations

from flows.stages import memory


def test_the_systems_counters_are_read(tmp_path, monkeypatch):
    files = tmp_path / "vmstat", tmp_path / "memory.events", tmp_path / "missing"
    files[0].write_text("nr_free_pages 7\noom_kill 2\nthp 9\n")
    files[1].write_text("low 0\noom 1\noom_kill 3\noom_group_kill 5\n")
    monkeypatch.setattr(memory, "COUNTERS", files)
    assert memory.killed_processes() == 5


def test_a_machine_without_counters_has_ended_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "COUNTERS", (tmp_path / "missing",))
    assert memory.killed_processes() == 0
