"""A stage's messages: typed when supervised, otherwise readable lines."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from tasks.core.files import read_json
from tasks.core.messages import SEPARATOR, SUPERVISED, ProgressMessage, encode, send
from tasks.core.progress import say, say_progress
from tasks.core.supervision import record, record_error


@pytest.fixture
def supervised(monkeypatch):
    monkeypatch.setenv(SUPERVISED, "a run")


@pytest.fixture
def paths(tmp_path):
    return SimpleNamespace(report=lambda stage: tmp_path / f"{stage}.json")


def sent(printed: bytes) -> list[dict[str, object]]:
    """Returns the messages in order. Fails if there is any other output."""
    assert all(line.startswith(SEPARATOR) and line.endswith(b"\n") for line in printed.splitlines(keepends=True))
    return [json.loads(line.removeprefix(SEPARATOR)) for line in printed.splitlines()]


def test_under_supervision_a_line_is_one_json_object(supervised, paths, capfdbinary):
    say("two\nlines, größer \x1e")
    say_progress(12, 19, "epochs")
    record(paths, "head", 1.5, {"score": 0.5}, dict)
    record_error("head", "out of memory", "compute.batch", 1)
    text, progress, done, failed = sent(capfdbinary.readouterr().out)
    assert text == {"kind": "message", "text": "two\nlines, größer \x1e"}
    assert progress == {"kind": "progress", "done": 12, "total": 19, "what": "epochs"}
    assert done.pop("peak_mib") > 10
    assert done == {"kind": "record", "run": "a run", "stage": "head", "seconds": 1.5, "report": {"score": 0.5}}
    failure = {"kind": "failure", "run": "a run", "stage": "head", "error": "out of memory"}
    assert failed == {**failure, "key": "compute.batch", "exit_code": 1}


def test_without_supervision_messages_are_plain_lines(capfd, paths):
    say("a text")
    say_progress(12, 19, "epochs fine-tuned, accuracy 97.1%")
    record(paths, "head", 1.5, {"score": 0.5}, dict)
    record_error("head", "out of memory", "compute.batch", 1)
    assert capfd.readouterr().out == "· a text\n· 63% 12 of 19 epochs fine-tuned, accuracy 97.1%\n"
    assert not send(ProgressMessage(1, 2, "x"))


def test_the_record_stays_as_a_file(supervised, paths):
    """It shows the run that last computed the stage; a failure replaces no record."""
    record(paths, "head", 1.5, {"score": 0.5}, dict)
    record_error("head", "out of memory", "compute.batch", 1)
    kept = read_json(paths.report("head"))
    assert (kept["run"], kept["seconds"], kept["report"]) == ("a run", 1.5, {"score": 0.5})


@pytest.mark.parametrize("environment", [{}, {SUPERVISED: "a run"}], ids=["by hand", "supervised"])
def test_only_the_first_of_several_processes_prints(environment, monkeypatch, capfd):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RANK", "1")
    say("unheard")
    say_progress(1, 2, "unheard")
    assert capfd.readouterr().out == ""
    monkeypatch.setenv("RANK", "0")
    say("heard")
    assert "heard" in capfd.readouterr().out


def test_the_percentage_is_rounded_down():
    assert ProgressMessage(450, 1000, "images").percent == 45
    assert ProgressMessage(999, 1000, "images").percent == 99
    assert ProgressMessage(0, 0, "images").percent == 0


def test_a_file_name_that_is_not_utf_8_can_be_sent():
    assert "K?fer.png" in encode(ProgressMessage(1, 2, "K\udce4fer.png")).decode()
