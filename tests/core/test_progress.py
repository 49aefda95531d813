from __future__ import annotations

import time

from tasks.core.progress import MARK, counted


def test_progress_is_printed_at_intervals(capsys, monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    assert list(counted("abcdef", 6, "letters")) == list("abcdef")
    lines = capsys.readouterr().out.splitlines()
    assert lines
    assert all(line.startswith(MARK) and "of 6 letters" in line for line in lines)
