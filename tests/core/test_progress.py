from __future__ import annotations

import time

from tasks.core.messages import ProgressMessage, TextMessage
from tasks.core.progress import MARK, counted, listening, say, say_progress, warn


def test_progress_is_printed_at_intervals(capsys, monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    assert list(counted("abcdef", 6, "letters")) == list("abcdef")
    lines = capsys.readouterr().out.splitlines()
    assert lines
    assert all(line.startswith(MARK) and "of 6 letters" in line for line in lines)


def test_a_listener_hears_what_is_said_in_its_block_and_nothing_is_printed(capsys):
    heard = []
    with listening(heard.append):
        say("a text")
        warn("a danger")
        say_progress(1, 2, "things")
    assert heard == [TextMessage("a text"), TextMessage("warning: a danger"), ProgressMessage(1, 2, "things")]
    assert [message.is_warning for message in heard[:2]] == [False, True]
    assert capsys.readouterr().out == ""
    say("afterwards")
    assert capsys.readouterr().out == f"{MARK}afterwards\n"


def test_only_the_first_process_of_a_distributed_run_is_heard(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    heard = []
    with listening(heard.append):
        say("a text")
    assert heard == []
