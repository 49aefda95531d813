"""What a run shows: a live bar in a terminal, plain lines in a pipe, everything in its log file."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from flows.local import display as module
from flows.local.display import TerminalHandler
from flows.local.logs import RUN_LOGGERS, Detail, Finished, Started, as_event
from flows.local.terminal import LONG, Lines
from tasks.core.messages import ProgressMessage
from tests.project import ROOT, environment
from tests.terminal import COLOR, Terminal

RUN = """
import logging, sys, time
from pathlib import Path
from flows.local.display import details, display
from flows.local.logs import Detail, Finished, Started, as_event
from tasks.core.messages import ProgressMessage
logger = logging.getLogger("prefect.task_runs")
logger.setLevel(logging.INFO)

def log(step, text, event=None, level=logging.INFO):
    logger.log(level, text, extra={"task_run_name": step, **(as_event(event) if event else {})})

with display(Path(sys.argv[1])):
    log("source", "images brought in: [red]folder[/red] :smile:")
    log("features", "running", Started())
    for done in range(1, 6):
        log("features", "batches", ProgressMessage(done, 8, "batches embedded in the longest of all possible words"))
        time.sleep(0.15)
    log("features", "warning: a shard is damaged", level=logging.WARNING)
    log("features", "a line that is " + 20 * "very " + "long", Detail())
    log("features", "computed", Finished(400.0))
    if sys.argv[2] == "fail":
        raise KeyError("bug")
print(details(Path(sys.argv[1])))
"""
SHOWN = [
    "source   | images brought in: [red]folder[/red] :smile:",
    "features | warning: a shard is damaged",
    "features | a line that is " + 20 * "very " + "long (7 min)",
]


@pytest.fixture
def log_file(tmp_path):
    return tmp_path / "logs" / "retrain.log"


def in_terminal(log_file, width=100, ending="well", **variables) -> Terminal:
    command = [sys.executable, "-c", RUN, str(log_file), ending]
    terminal = Terminal(command, ROOT, width, **variables)
    assert terminal.wait() == (1 if ending == "fail" else 0), terminal.output
    return terminal


def in_pipe(log_file, ending="well", **variables) -> list[str]:
    command = [sys.executable, "-c", RUN, str(log_file), ending]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(**variables), capture_output=True, text=True, check=False, timeout=60
    )
    assert ("Traceback" in done.stderr) == (ending == "fail"), done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("width", [40, 60, 100, 300])
def test_a_terminal_has_one_live_line_within_its_width(log_file, width):
    terminal = in_terminal(log_file, width)
    live = [frame for frame in terminal.frames() if "━" in frame]
    assert live
    assert max(map(len, live)) <= width
    assert width < 60 or any("%" in frame and "s left" in frame for frame in live)
    assert COLOR.search(terminal.output)
    assert terminal.lines() == [*SHOWN, f"details     {log_file}"]


def test_no_color_is_respected_in_a_terminal(log_file):
    terminal = in_terminal(log_file, NO_COLOR="1")
    assert "━" in terminal.output
    assert not COLOR.search(terminal.output)


@pytest.mark.parametrize("variables", [{"CI": "true"}, {"TERM": "dumb"}], ids=["CI", "dumb"])
def test_a_job_and_a_dumb_terminal_get_plain_lines(log_file, variables):
    terminal = in_terminal(log_file, **variables)
    assert "━" not in terminal.output
    assert terminal.lines()[:2] == SHOWN[:2]


def test_a_pipe_gets_a_line_a_step_and_no_control_codes(log_file):
    assert in_pipe(log_file) == [*SHOWN, f"details     {log_file}"]


def test_the_file_has_everything_and_earlier_ones_are_kept(log_file):
    for _ in range(2):
        in_pipe(log_file)
    text = log_file.read_text()
    assert text.count("batches") == 5
    assert "INFO    features | computed" in text
    assert log_file.with_name("retrain.log.1").read_text().count("batches") == 5


@pytest.mark.parametrize("run", [in_pipe, lambda *arguments: in_terminal(*arguments).lines()], ids=["pipe", "terminal"])
def test_a_run_that_fails_says_where_the_details_are(log_file, run):
    lines = run(log_file, "fail") if run is in_pipe else in_terminal(log_file, ending="fail").lines()
    assert lines[3] == f"details     {log_file}"
    assert sum(line.startswith("details") for line in lines) == 1


class Recorded(Lines):
    def __init__(self):
        self.lines = []

    def line(self, text, *, is_warning=False):
        self.lines.append(text)


@pytest.fixture
def shown(monkeypatch):
    """Returns a function that shows records one second apart, and the lines that this leads to."""
    view, clock = Recorded(), [0.0]
    handler = TerminalHandler(view)
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])

    def show(text, event=None, step="finetune", logger=RUN_LOGGERS[1], path="flow.py", level=logging.INFO, seconds=1.0):
        clock[0] += seconds
        record = logging.LogRecord(logger, level, path, 1, text, None, None)
        record.__dict__.update({"task_run_name": step, **(as_event(event) if event else {})})
        handler.emit(record)
        return view.lines

    return show


def test_long_jobs_say_their_quarters_and_short_ones_do_not(shown):
    for length, expected in ((0.9 * LONG, 0), (1.1 * LONG, 3), (40 * LONG, 3)):
        lines = shown("running", Started())
        before = len(lines)
        for done in range(1, 41):
            shown(f"{done} of 40", ProgressMessage(done, 40, "epochs"), seconds=length / 40)
        assert len(lines) - before == expected, lines
    assert lines[-1] == "finetune | 75% 30 of 40 epochs, about 20 min left"


def test_a_job_that_jumps_says_one_quarter_and_a_text_in_between_repeats_none(shown):
    shown("running", Started())
    shown("1", ProgressMessage(1, 4, "parts"), seconds=100)
    shown("out of memory", Detail())
    assert len(shown("1", ProgressMessage(1, 4, "parts"), seconds=100)) == 1
    assert len(shown("3", ProgressMessage(3, 4, "parts"), seconds=100)) == 2


def test_steps_about_the_data_say_every_line_once_and_in_order(shown):
    for text in ("passed through dataset/", "3 files skipped"):
        shown(text, Detail(), step="ingest")
    shown("warning: no labels", step="ingest", level=logging.WARNING)
    shown("10 images", Detail(), step="ingest")
    lines = shown("computed", Finished(2.0), step="ingest")
    assert [line.partition("| ")[2] for line in lines] == [
        *("passed through dataset/", "3 files skipped", "warning: no labels", "10 images (2.0 s)")
    ]
    shown("backbone: 12 tensors", Detail(), step="source")
    assert shown("weights brought in: x", step="source")[-2:] == [
        *("source   | backbone: 12 tensors", "source   | weights brought in: x")
    ]


@pytest.mark.parametrize(
    "record",
    [
        {"path": "/x/prefect/flow_engine.py", "level": logging.ERROR},
        {"path": "/x/prefect/task_engine.py"},
        {"logger": "prefect.client", "level": logging.WARNING},
        {"logger": "alembic"},
    ],
)
def test_the_engine_and_libraries_say_nothing(shown, record):
    assert shown("Finished in state Failed('x')", **record) == []


def test_a_step_that_says_nothing_has_been_computed_and_unchanged_ones_have_no_time(shown):
    shown("running", Started(), step="head")
    assert shown("x", Finished(1.0), step="head") == ["head     | computed (1.0 s)"]
    assert shown("unchanged", step="head")[-1] == "head     | unchanged"
