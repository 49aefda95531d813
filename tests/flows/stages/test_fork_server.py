"""A command that runs in a fork of a process that has imported its program is the same command: real processes."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from flows.config.parameters import RunSection
from flows.stages.child import run_supervised
from flows.stages.fork_server import dvc_server, fork_server, stage_server
from tasks.runner.fork_client import DVC_SERVER, STAGE_SERVER
from tests.project import ROOT, is_alive, wait_until

VARIABLE = "ROOTSTOCK_TEST_SERVER"
FORKED = "in a fork"
IMPORTS = "import os, signal, subprocess, sys, time\n"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Returns a folder with a copy of the code and the program, which is the current one."""
    shutil.copytree(ROOT / "tasks", tmp_path / "tasks", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(Path(__file__).with_name("program.py"), tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def server(root, monkeypatch):
    """Runs a server, and returns its process."""
    monkeypatch.setenv("DVC_X", "of the server")
    with serving():
        monkeypatch.delenv("DVC_X")
        yield server_process()


@contextmanager
def serving():
    """Runs a server in the block, without the variable that pytest changes between a fixture and its test."""
    os.environ.pop("PYTEST_CURRENT_TEST", None)
    with fork_server(VARIABLE, Path("server"), "program", "one", "two"):
        yield


def server_process() -> psutil.Process:
    running = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    return next(child for child in running if "tasks.runner.fork_server" in child.cmdline())


def start(code: str, *, changes: dict[str, str] | None = None, **options: object) -> subprocess.Popen[str]:
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.PIPE, **options}
    environment = {**os.environ, **(changes or {})}
    environment.pop("PYTEST_CURRENT_TEST", None)
    return subprocess.Popen([sys.executable, "-m", "program", IMPORTS + code], text=True, env=environment, **options)


def run(code: str, typed: str = "", **options: object) -> tuple[int, list[str], str]:
    """Returns the exit code of the program, its lines of output and its errors."""
    command = start(code, **options)
    output, errors = command.communicate(typed, timeout=60)
    return command.returncode, output.splitlines(), errors


@pytest.mark.usefixtures("server")
class TestAFork:
    def test_has_the_streams_the_folder_and_the_environment_of_the_command(self, root):
        (root / "below").mkdir()
        code = "print('an error', file=sys.stderr)\n"
        code += "print(sys.stdin.read(), os.getcwd(), ascii(os.environ['ROOTSTOCK_CALL']), 'DVC_X' in os.environ)"
        not_utf8 = "\udce4"
        status, lines, errors = run(code, "typed", changes={"ROOTSTOCK_CALL": not_utf8})
        assert (status, errors) == (0, "an error\n")
        assert lines == [FORKED, f"typed {root} '\\udce4' False"]

    @pytest.mark.parametrize("status", [0, 1, 70, 255])
    def test_ends_with_the_commands_exit_code(self, status):
        assert run(f"sys.exit({status})")[:2] == (status, [FORKED])

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
    def test_ends_the_command_by_the_signal_that_ended_it(self, number):
        assert run(f"os.kill(os.getpid(), {number:d})")[:2] == (-number, [FORKED])

    def test_prints_the_traceback_of_an_error(self):
        status, lines, errors = run("raise ValueError('what is wrong')")
        assert (status, lines) == (1, [FORKED])
        assert errors.endswith("ValueError: what is wrong\n")

    def test_is_in_the_commands_process_group_and_named_after_it(self, root):
        code = "print(os.getpgrp(), open('/proc/self/comm').read(), flush=True); time.sleep(60)"
        command = start(code, process_group=0)
        assert command.stdout.readline() == FORKED + "\n"
        assert command.stdout.readline() == f"{command.pid} program\n"
        os.killpg(command.pid, signal.SIGKILL)
        command.communicate(timeout=10)
        wait_until(lambda: not forks(), 5)

    def test_holds_no_files_of_the_server(self):
        code = "numbers = os.listdir('/proc/self/fd')\n"
        code += "print(sorted(number for number in numbers if os.path.exists(f'/proc/self/fd/{number}')))"
        assert run(code)[1] == [FORKED, "['0', '1', '2']"]

    def test_runs_beside_another_whose_files_it_does_not_hold(self):
        first = start("sys.stdin.read()")
        assert first.stdout.readline() == FORKED + "\n"
        self.test_holds_no_files_of_the_server()
        first.communicate("", timeout=10)
        assert first.returncode == 0

    @pytest.mark.parametrize(("argument", "status", "text"), [("", 0, ""), ("None", 0, ""), ("'why'", 1, "why\n")])
    def test_may_end_itself_in_any_way_of_python(self, argument, status, text):
        code = "import atexit; atexit.register(print, 'at the end'); print('unflushed', end=' '); "
        assert run(f"{code}sys.exit({argument})") == (status, [FORKED, "unflushed at the end"], text)

    def test_ends_with_its_command_even_in_a_group_that_lives_on(self):
        command = start("print(os.getpid(), flush=True); time.sleep(60)")
        assert command.stdout.readline() == FORKED + "\n"
        fork = int(command.stdout.readline())
        command.kill()
        command.communicate(timeout=10)
        wait_until(lambda: not is_alive(fork), 5)


def forks() -> list[psutil.Process]:
    return server_process().children()


def test_a_server_keeps_nothing_of_its_forks(server):
    counts = []
    for _ in range(2):
        for _ in range(5):
            run("")
            run("os.kill(os.getpid(), 9)")
        wait_until(lambda: not server.children(), 5)
        time.sleep(0.5)
        counts.append(server.num_fds())
    assert counts[0] == counts[1]


@pytest.mark.usefixtures("server")
class TestTheCommandRunsHere:
    """It does so if a fork would not be the same."""

    def test_if_a_file_of_the_code_has_changed(self, root):
        assert run("")[1] == [FORKED]
        os.utime(root / "tasks" / "core" / "files.py", (1, 1))
        assert run("")[1] == ["here"]

    def test_if_a_file_of_the_code_is_new(self, root):
        assert run("")[1] == [FORKED]
        (root / "tasks" / "new.py").touch()
        assert run("")[1] == ["here"]

    def test_if_a_variable_that_libraries_read_differs(self):
        assert run("", changes={"OMP_NUM_THREADS": "7"})[1] == ["here"]

    def test_if_it_belongs_to_another_session(self):
        assert run("", start_new_session=True)[1] == ["here"]

    def test_if_the_server_has_ended(self, server):
        server.kill()
        wait_until(lambda: not is_alive(server.pid), 5)
        assert run("sys.exit(3)")[:2] == (3, ["here"])

    def test_if_its_request_is_too_long(self):
        assert run("#" * 2**16, changes={f"ROOTSTOCK_{i}": "x" * 2**16 for i in range(20)})[1] == ["here"]


@pytest.mark.usefixtures("server")
def test_a_client_that_says_nothing_or_nonsense_stops_nothing():
    for message in (None, b"", b"{", b"{}", b"[]", b'"text"', b'{"environment": 1}', b"\xff" * 1000):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
            client.connect("server")
            if message is not None:
                client.send(message)
    assert run("")[1] == [FORKED]


def test_a_command_waits_for_imports_and_then_runs_in_a_fork(root, monkeypatch):
    monkeypatch.setenv("IMPORT_SECONDS", "1")
    with serving():
        assert run("print(IMPORTED)")[1] == [FORKED, "['one']"]
        time.sleep(2)
        assert run("print(IMPORTED)")[1] == [FORKED, "['one', 'two']"]


def test_a_server_that_cannot_import_its_program_is_none(root):
    (root / "program.py").write_text(
        (root / "program.py").read_text().replace("IMPORTED.append(name)", "raise ImportError")
    )
    with serving():
        assert run("")[1] == ["here"]


def test_a_killed_server_ends_the_fork_and_the_command(server, monkeypatch):
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    pids: list[int] = []

    def read(message: object) -> None:
        pids.append(int(str(message)))

    code = f"from tasks.core.progress import say; say(str(os.getpid())); os.kill({server.pid}, 9); time.sleep(60)"
    command = [sys.executable, "-m", "program", IMPORTS + code]
    limits = RunSection(timeout=60, stall=60, retries=0, slot=None)
    status, _output = run_supervised(command, limits, read)
    assert status == -signal.SIGTERM
    wait_until(lambda: not is_alive(pids[0]), 5)


@pytest.mark.usefixtures("server")
def test_the_work_of_a_fork_is_a_sign_of_work(monkeypatch):
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    command = [
        sys.executable,
        "-m",
        "program",
        IMPORTS + "end = time.monotonic() + 5\nwhile time.monotonic() < end: pass",
    ]
    limits = RunSection(timeout=None, stall=2, retries=0, slot=None)
    status, output = run_supervised(command, limits, print)
    assert (status, output.exceeded) == (0, None)


def test_a_fork_ends_with_its_server(root):
    with serving():
        command = start("print(os.getpid(), flush=True); time.sleep(60)")
        assert command.stdout.readline() == FORKED + "\n"
        fork = int(command.stdout.readline())
    wait_until(lambda: not is_alive(fork), 5)
    command.communicate(timeout=10)
    assert command.returncode == -signal.SIGTERM, "an end by SIGKILL would look like too little memory"


def test_nothing_of_a_server_is_left_after_its_block(root):
    with serving():
        process = server_process()
        assert VARIABLE in os.environ
    assert not is_alive(process.pid)
    assert VARIABLE not in os.environ
    assert not Path("server").exists()


def test_a_server_ends_with_its_flow(root):
    code = "import sys; from pathlib import Path; from flows.stages.fork_server import fork_server\n"
    code += f"with fork_server('{VARIABLE}', Path('server'), 'program'): print('ready', flush=True); sys.stdin.read()"
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{ROOT}"}
    flow = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    assert flow.stdout.readline() == b"ready\n"
    (process,) = psutil.Process(flow.pid).children()
    flow.kill()
    flow.communicate()
    wait_until(lambda: not is_alive(process.pid), 10)


def test_a_socket_that_a_killed_flow_left_behind_is_replaced(root):
    for _ in range(2):
        with serving():
            assert run("")[1] == [FORKED]
            os.link("server", "kept")
        Path("kept").rename("server")


def test_there_is_no_server_where_its_address_is_too_long_and_none_for_no_stages(tmp_path):
    with dvc_server(tmp_path / ("long" * 40)), stage_server(tmp_path, []):
        assert DVC_SERVER not in os.environ
        assert STAGE_SERVER not in os.environ
