"""A supervised child: its messages, its other output, and the end of all its processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest

from flows.config.parameters import RunSection
from flows.stages import child
from flows.stages.child import Output, decode, run_supervised
from tasks.core.messages import (
    SEPARATOR,
    SUPERVISED,
    FailureMessage,
    ProgressMessage,
    RecordMessage,
    TextMessage,
    encode,
)
from tests.project import ROOT, environment, is_alive, wait_until

PROGRESS = ProgressMessage(12, 19, "epochs")
RECORD = RecordMessage("mine", "head", 1.5, 200.0, {"score": 0.5, "more": {"x": float("inf")}})
STAGE = """
import os, subprocess, sys, time
from tasks.core.messages import *
from tasks.core.progress import say
from tasks.core.supervision import record, watch_supervisor
watch_supervisor()
"""
SLEEPER = """
import pathlib, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path('grandchild').write_text(str(__import__('os').getpid()))
time.sleep(600)
"""


LIMITS = RunSection(timeout=60, stall=60, retries=0, slot=None)


def supervised(code, on_message=lambda _message: None, timeout=60.0, stall=60.0, cwd=None):
    """Runs `code` in a supervised child, as a stage would run."""
    run = RunSection(timeout=timeout, stall=stall, retries=0, slot=None)
    return run_supervised([sys.executable, "-c", STAGE + code], run, on_message, cwd=cwd, PYTHONPATH=str(ROOT))


def taken(*lines):
    """Returns the output of a run named "mine" after these lines, and the messages shown."""
    shown = []
    output = Output("mine", shown.append)
    for line in lines:
        output.take(line)
    return output, shown


def grandchild(folder: Path) -> int:
    return int(wait_until(lambda: (folder / "grandchild").exists() and (folder / "grandchild").read_text()))


@pytest.fixture
def short_grace(monkeypatch):
    monkeypatch.setattr(child, "GRACE", 0.5)


@pytest.mark.parametrize(
    "message",
    [
        PROGRESS,
        TextMessage("größer\n\x1e"),
        RECORD,
        FailureMessage("mine", "head", "out of memory", "compute.batch", 1),
    ],
    ids=lambda message: message.kind,
)
def test_a_message_is_read_as_it_was_sent(message):
    assert decode(encode(message).removeprefix(SEPARATOR)) == message


def test_messages_come_in_order_and_other_lines_are_kept():
    shown = []
    code, output = supervised(
        "print('from a library'); say('first'); sys.stderr.write('a warning\\n'); say('second'); sys.exit(3)",
        shown.append,
    )
    assert code == 3
    assert shown == [TextMessage("first"), TextMessage("second")]
    assert sorted(output.tail) == ["a warning", "from a library"]
    assert (output.records, output.failure) == ([], None)


@pytest.mark.parametrize(
    "line",
    [
        b"no message",
        b"\x1e",
        b'\x1e{"kind": "progress", "done": 1, "to',
        b"\x1e[]",
        b"\x1e12",
        b'\x1e{"kind": "another"}',
        b'\x1e{"kind": ["progress"]}',
        b'\x1e{"done": 1, "total": 2, "what": "x"}',
        b'\x1e{"kind": "progress", "done": "1", "total": 2, "what": "x"}',
        b'\x1e{"kind": "message", "text": "K\xe4fer"}',
        b'\x1e{"kind": "message", "text": "\\ud800"}',
        b"\x1e" + b"[" * 100_000,
        b"K\xe4fer \x00\x1b[31m",
        b"x" * 2**20,
        b"\x1e" + b"x" * 2**20,
        encode(RecordMessage("another run", "head", 1.5, 200.0, {})),
        encode(FailureMessage("another run", "head", "it is broken", "", 1)),
        encode(RecordMessage(None, "head", 1.5, 200.0, {})),
    ],
)
def test_a_foreign_line_is_other_output_and_disturbs_nothing(line):
    output, shown = taken(line, encode(PROGRESS), encode(RECORD))
    assert shown == [PROGRESS]
    assert (output.records, output.failure) == ([RECORD], None)
    assert sum(map(len, output.tail)) <= child.SHOWN
    assert len(output.tail) == (line != b"\x1e")


def test_a_message_in_the_middle_of_a_line_is_taken():
    output, shown = taken(b"loading: 50%" + encode(PROGRESS), b"before" + encode(PROGRESS).strip() + encode(RECORD))
    assert shown == [PROGRESS, PROGRESS]
    assert output.records == [RECORD]
    assert list(output.tail) == ["loading: 50%", "before"]


def test_only_the_last_state_of_a_progress_bar_is_kept():
    output, _shown = taken(b"\r 0%|    |\r50%|##  |\r100%|####|\r\n")
    assert list(output.tail) == ["100%|####|"]


def test_the_last_line_needs_no_end():
    shown = []
    whole = encode(PROGRESS).strip()
    _code, output = supervised(f"os.write(1, {whole!r}); os.write(1, {whole[:-5]!r})", shown.append)
    assert shown == [PROGRESS]
    assert list(output.tail) == [whole[1:-5].decode()]


def test_a_message_of_nearly_a_mebibyte_arrives_whole_and_a_longer_one_breaks_nothing():
    shown = []
    code, output = supervised("say('x' * 1_000_000); say('y' * 5_000_000); say('end')", shown.append)
    assert code == 0
    assert shown == [TextMessage("x" * 1_000_000), TextMessage("end")]
    assert all("yyy" in line for line in output.tail)


@pytest.mark.parametrize("end", ["''", "'\\n'"], ids=["one line", "many lines"])
def test_much_output_takes_little_memory(end):
    tracemalloc.start()
    try:
        code, output = supervised(f"for _ in range(64): sys.stdout.write('z' * 2**20 + {end})")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert code == 0
    assert peak < 8 * 2**20
    assert 0 < sum(map(len, output.tail)) <= child.TAIL * child.SHOWN


def test_the_records_are_those_of_this_run():
    code = """
for run in (os.environ[SUPERVISED], "another"):
    send(RecordMessage(run, "head", 1.0, 2.0, {}))
"""
    _code, output = supervised(code)
    assert [record.run for record in output.records] == [output.run]
    assert len(output.tail) == 1


def test_a_child_past_its_timeout_is_killed_with_all_its_processes(tmp_path, short_grace):
    """Even processes that ignore SIGTERM are ended."""
    _code, output = supervised(f"subprocess.run([sys.executable, '-c', {SLEEPER!r}])", timeout=3, cwd=tmp_path)
    assert output.exceeded == "run.timeout"
    wait_until(lambda: not is_alive(grandchild(tmp_path)), 5)


def test_processes_that_a_child_leaves_behind_are_ended(tmp_path, short_grace):
    """This holds whether or not the process keeps the output open."""
    for output in ("None", "subprocess.DEVNULL"):
        (tmp_path / "grandchild").unlink(missing_ok=True)
        start = f"subprocess.Popen([sys.executable, '-c', {SLEEPER!r}], stdout={output}, stderr={output})"
        wait = "while not os.path.exists('grandchild'): time.sleep(0.05)"
        code, _output = supervised(f"{start}\n{wait}", cwd=tmp_path)
        assert code == 0
        wait_until(lambda: not is_alive(grandchild(tmp_path)), 5)


def test_a_process_in_another_session_that_holds_the_output_blocks_nothing(tmp_path, short_grace):
    start = f"subprocess.Popen([sys.executable, '-c', {SLEEPER!r}], start_new_session=True)"
    started = time.monotonic()
    code, _output = supervised(f"{start}\nwhile not os.path.exists('grandchild'): time.sleep(0.05)", cwd=tmp_path)
    assert code == 0
    assert time.monotonic() - started < 30
    os.kill(grandchild(tmp_path), signal.SIGKILL)


def test_a_stage_whose_dvc_was_killed_exits(tmp_path):
    """Here the grandchild is the stage, which detects the end of its input."""
    stage = STAGE + "open('grandchild', 'w').write(str(os.getpid())); time.sleep(600)"
    between = f"import os, signal, subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {stage!r}])\n"
    between += "while not os.path.exists('grandchild'): pass\nos.kill(os.getpid(), signal.SIGKILL)"
    started = time.monotonic()
    code, _output = run_supervised(
        [sys.executable, "-c", between], LIMITS, lambda _message: None, cwd=tmp_path, PYTHONPATH=str(ROOT)
    )
    assert code == -signal.SIGKILL
    assert time.monotonic() - started < child.GRACE, "it went by itself"
    wait_until(lambda: not is_alive(grandchild(tmp_path)), 5)


def test_a_supervisor_that_is_killed_takes_the_stage_with_it(tmp_path):
    stage = STAGE + "open('grandchild', 'w').write(str(os.getpid())); time.sleep(600)"
    code = "import sys\nfrom flows.config.parameters import RunSection\nfrom flows.stages.child import run_supervised\n"
    code += "limits = RunSection(timeout=60, stall=60, retries=0, slot=None)\n"
    code += f"run_supervised([sys.executable, '-c', {stage!r}], limits, print)"
    supervisor = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(PYTHONPATH=str(ROOT)), stdout=-3, stderr=-3
    )
    stage_pid = grandchild(tmp_path)
    supervisor.kill()
    supervisor.wait()
    wait_until(lambda: not is_alive(stage_pid), 2)


def test_a_callback_that_fails_ends_the_child(tmp_path, short_grace):
    def broken(_message):
        raise ConnectionError("no server")

    code = "open('grandchild', 'w').write(str(os.getpid())); say('hello'); time.sleep(600)"
    with pytest.raises(ConnectionError):
        supervised(code, broken, cwd=tmp_path)
    wait_until(lambda: not is_alive(grandchild(tmp_path)), 5)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(
    ("work", "stopped"),
    [("time.sleep(0.1)", True), ("print('on', flush=True); time.sleep(0.5)", False), ("sum(range(10**6))", False)],
)
def test_a_child_is_stopped_if_it_neither_writes_nor_computes(work, stopped, nested):
    """Of a process that it has started, output and computation count too."""
    code = f"import time\nend = time.monotonic() + 5\nwhile time.monotonic() < end: {work}"
    if nested:
        code = f"subprocess.run([sys.executable, '-c', {code!r}])"
    status, output = supervised(code, timeout=None, stall=2)
    assert (status == 0, output.exceeded) == ((False, "run.stall") if stopped else (True, None))


def test_the_timeout_applies_to_each_stage_separately(tmp_path):
    """Two stages of three seconds each are in time; a stage of ten seconds is not."""
    stages = "send(RecordMessage(os.environ[SUPERVISED], 'head', 1.0, 2.0, {})); time.sleep("
    code, output = supervised(f"time.sleep(3); {stages}3); {stages}0)", timeout=5)
    assert (code, len(output.records)) == (0, 2)
    code, output = supervised(f"{stages}10)", timeout=5)
    assert (output.exceeded, len(output.records)) == ("run.timeout", 1)


def test_a_child_that_closes_its_output_is_waited_for():
    code, _output = supervised("os.close(1); os.close(2); time.sleep(1); os._exit(7)")
    assert code == 7


def test_the_environment_is_passed_on_with_the_runs_name(monkeypatch):
    monkeypatch.setenv("COLOR", "teal")
    _code, output = run_supervised(["sh", "-c", f"echo $COLOR $SHAPE ${SUPERVISED}"], LIMITS, print, SHAPE="ring")
    assert list(output.tail) == [f"teal ring {output.run}"]
