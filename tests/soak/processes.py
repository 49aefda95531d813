"""Finds the victims of faults among the processes of a project."""

from __future__ import annotations

from pathlib import Path

import psutil

from tasks.core.files import read_json
from tasks.core.schema import STAGES
from tests.soak.draw import Victim

SERVERS = {Victim.PREFECT: "prefect", Victim.MLFLOW: "mlflow", Victim.WORKER: "worker", Victim.WATCHER: "watcher"}


def line_of(process: psutil.Process) -> list[str]:
    """Returns the command line; empty if the process has ended."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def name_of(process: psutil.Process) -> str:
    """Returns the name, which a fork that runs a stage has from it; empty if the process has ended."""
    try:
        return process.name()
    except psutil.Error:
        return ""


def descendants(pid: int) -> list[psutil.Process]:
    """Returns the processes below a process, in no order."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def is_dvc(line: list[str]) -> bool:
    return any(Path(word).name == "dvc_command.py" for word in line[:3])


def stage_in(line: list[str]) -> str | None:
    """Returns the stage that a DVC process reproduces, or that a stage's process computes."""
    is_stage = line[-3:-1] == ["-m", "tasks"] or (is_dvc(line) and "repro" in line)
    return line[-1] if is_stage and line[-1] in STAGES else None


def victim_of(kind: Victim, flow: int, root: Path) -> psutil.Process | None:
    """Returns the process that a fault is for, if it is there now."""
    if kind is Victim.FLOW:
        return psutil.Process(flow) if psutil.pid_exists(flow) else None
    if kind in SERVERS:
        return server(root, SERVERS[kind])
    for process in descendants(flow):
        line = line_of(process)
        is_it = {
            Victim.DVC: name_of(process) == "dvc repro",
            Victim.STAGE: name_of(process) in STAGES,
            Victim.FORKER: "tasks.runner.fork_server" in line and name_of(process) not in (*STAGES, "dvc repro"),
            Victim.TEMPORARY: "flows.local.temporary_server" in line,
        }
        if is_it.get(kind):
            return process
    return None


def server(root: Path, name: str) -> psutil.Process | None:
    """Returns a long-lived process that make up has started."""
    file = root / ".state" / "servers.json"
    servers = read_json(file) if file.exists() else {}
    pid = servers.get(name, {}).get("pid", 0)
    return psutil.Process(pid) if pid and psutil.pid_exists(pid) else None


def left_below(root: Path) -> list[psutil.Process]:
    """Returns the processes that work in a folder."""
    left = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(root) and process.status() != psutil.STATUS_ZOMBIE:
                left.append(process)
        except (psutil.Error, OSError):
            continue
    return left


def end_all(processes: list[psutil.Process]) -> None:
    """Kills what is left of a cycle, also if it is stopped."""
    for process in processes:
        try:
            process.kill()
        except psutil.Error:
            continue
    psutil.wait_procs(processes, timeout=10)
