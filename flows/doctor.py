"""Doctor: what this machine has, and what to do about what it lacks. Run by make doctor."""

from __future__ import annotations

import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from filelock import FileLock, Timeout
from packaging.requirements import Requirement

from flows.config import parameters
from flows.local import git
from flows.local.environment import CHECKOUT
from flows.local.lock import holder
from flows.local.servers import HOST, PORTS, running
from tasks.core.errors import RootstockError
from tasks.core.paths import PathsParams

ENOUGH_DISK = 5 * 2**30  # bytes


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `remedy` says what to do if it is not well."""

    what: str
    well: bool
    remedy: str = ""

    def line(self) -> str:
        """The finding on one line."""
        return f"{'ok ' if self.well else 'BAD'}  {self.what}" + ("" if self.well else f"\n     {self.remedy}")


def examine() -> str:
    """A line a finding. Raises RootstockError, with all of them, if one is not well."""
    findings = [*_machine(), *_packages(), *_checkout(), *_servers()]
    report = "\n".join(finding.line() for finding in findings)
    bad = sum(not finding.well for finding in findings)
    if bad:
        raise RootstockError(f"{bad} of {len(findings)} things need a hand\n{report}")
    return report


def _machine() -> Iterator[Finding]:
    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding(
        f"Python {python}", sys.version_info >= (3, 11), "make PYTHON=python3.12 after installing Python 3.11 or newer"
    )
    free = shutil.disk_usage(CHECKOUT).free
    yield Finding(
        f"{free / 2**30:.0f} GiB of disk are free", free >= ENOUGH_DISK, "free some; make clean removes .state"
    )
    yield Finding("git is there", shutil.which("git") is not None, "install git")
    yield Finding(
        f"commit {git.commit()[:12]}", git.commit() != "none", "git init && git add -A && git commit: DVC needs one"
    )


def _packages() -> Iterator[Finding]:
    """Whether what a run needs is installed as requirements.txt pins it, whatever else there is."""
    lines = (CHECKOUT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = [Requirement(line) for line in lines if line and not line.startswith(("#", " "))]
    wrong = [str(needed) for needed in wanted if (not needed.marker or needed.marker.evaluate()) and not _fits(needed)]
    told = f"{len(wanted) - len(wrong)} packages are as pinned" + (
        f", {len(wrong)} are not: {', '.join(wrong[:5])}" if wrong else ""
    )
    yield Finding(told, not wrong, "rm .venv/ready and run make again")


def _fits(needed: Requirement) -> bool:
    try:
        return needed.specifier.contains(version(needed.name), prereleases=True)
    except PackageNotFoundError:
        return False


def _checkout() -> Iterator[Finding]:
    """params.yaml, and who holds the locks."""
    try:
        parameters.load()
        yield Finding("params.yaml is valid", True)
    except RootstockError as error:
        yield Finding("params.yaml is not valid", False, str(error))
    state = PathsParams.load().paths.state
    for name in ("flow", "stage"):
        taken = _is_taken(state / f"{name}.lock")
        who = f" by {holder(state)}" if taken and name == "flow" else ""
        yield Finding(
            f"the {name} lock is {'held' + who if taken else 'free'}", not taken, "wait for it, or end that process"
        )


def _is_taken(file: Path) -> bool:
    if not file.exists():
        return False
    try:
        with FileLock(file, timeout=0):
            return False
    except Timeout:
        return True


def _servers() -> Iterator[Finding]:
    """Whether the usual ports are free or ours."""
    ours = running()
    for name, port in PORTS.items():
        if name in ours:
            yield Finding(f"{name} is up at {ours[name]['url']}", True)
            continue
        with socket.socket() as probe:
            free = probe.connect_ex((HOST, port)) != 0
        told = f"port {port} for {name} is {'free' if free else 'used by another program'}"
        yield Finding(told if free else f"{told}; make up takes another", True)
