"""Doctor: checks the machine and the checkout, and names a remedy for each problem. Run by make doctor."""

from __future__ import annotations

import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from packaging.requirements import Requirement

from flows.config import parameters
from flows.estimates import words
from flows.local import auth, git
from flows.local.environment import CHECKOUT
from flows.local.lock import holder, is_held
from flows.local.servers import HOST, PORTS, running
from flows.registry import signing
from tasks.core.errors import RootstockError
from tasks.core.paths import PathsParams

MIN_DISK = 5 * 2**30  # bytes


@dataclass(frozen=True)
class Finding:
    """The result of one check; `remedy` is advice for the user if it failed."""

    what: str
    ok: bool
    remedy: str = ""

    def line(self) -> str:
        """Returns the finding as one line, with its remedy on a second line if the check failed."""
        return f"{'ok ' if self.ok else 'BAD'}  {self.what}" + ("" if self.ok else f"\n     {self.remedy}")


def examine() -> str:
    """Runs all checks and returns one line per finding. Raises RootstockError with all lines if a check failed."""
    findings = [*_machine(), *_packages(), *_checkout(), *_estimates(), *_key(), *_servers()]
    report = "\n".join(finding.line() for finding in findings)
    bad = sum(not finding.ok for finding in findings)
    if bad:
        raise RootstockError(f"{bad} of {len(findings)} checks failed\n{report}", key="checks-failed")
    return report


def _machine() -> Iterator[Finding]:
    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding(
        f"Python {python}", sys.version_info >= (3, 11), "make PYTHON=python3.12 after installing Python 3.11 or newer"
    )
    free = shutil.disk_usage(CHECKOUT).free
    yield Finding(
        f"{free / 2**30:.0f} GiB of disk space are free", free >= MIN_DISK, "free some space; make clean removes .state"
    )
    yield Finding("git is installed", shutil.which("git") is not None, "install git")
    yield Finding(
        f"commit {git.commit()[:12]}", git.commit() != "none", "git init && git add -A && git commit: DVC needs one"
    )


def _key() -> Iterator[Finding]:
    try:
        key = signing.own_key()
    except RootstockError as error:
        yield Finding("the signing key cannot be read", False, str(error))
    else:
        yield Finding(f"signing key {key or 'none yet: the first registration makes it'}", True)


def _packages() -> Iterator[Finding]:
    """Checks that the packages in requirements.txt are installed at the pinned versions; others are ignored."""
    lines = (CHECKOUT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith(("#", " "))]
    wrong = [str(pin) for pin in pins if (not pin.marker or pin.marker.evaluate()) and not _is_installed(pin)]
    summary = f"{len(pins) - len(wrong)} packages are as pinned" + (
        f", {len(wrong)} are not: {', '.join(wrong[:5])}" if wrong else ""
    )
    yield Finding(summary, not wrong, "rm .venv/ready and run make again")


def _is_installed(pin: Requirement) -> bool:
    try:
        return pin.specifier.contains(version(pin.name), prereleases=True)
    except PackageNotFoundError:
        return False


def _checkout() -> Iterator[Finding]:
    """Checks params.yaml and the locks."""
    try:
        parameters.load()
        yield Finding("params.yaml is valid", True)
    except RootstockError as error:
        yield Finding("params.yaml is not valid", False, str(error))
    state = PathsParams.load().paths.state
    for name in ("flow", "stage"):
        held = is_held(state / f"{name}.lock")
        by = f" by {holder(state)}" if held and name == "flow" else ""
        yield Finding(f"the {name} lock is {'held' + by if held else 'free'}", not held, "wait, or end that process")


def _estimates() -> Iterator[Finding]:
    """Yields what runs take; none is a failure, since nothing has failed yet."""
    try:
        yield from (Finding(row, True) for row in words.rows(PathsParams.load().paths))
    except RootstockError as error:
        yield Finding("what a run takes cannot be estimated", False, str(error))


def _auth_string() -> Finding:
    try:
        auth.read()
    except RootstockError as error:
        return Finding("the servers' auth string is not private", False, str(error))
    return Finding(f"only you can read the servers' auth string, {auth.FILE}", True)


def _servers() -> Iterator[Finding]:
    """Checks the auth string and the default ports. A port in use is not a failure: make up chooses another one."""
    servers = running()
    if auth.FILE.exists():
        yield _auth_string()
    for name, port in PORTS.items():
        if name in servers:
            yield Finding(f"{name} is up at {servers[name]['url']}", True)
            continue
        with socket.socket() as probe:
            free = probe.connect_ex((HOST, port)) != 0
        state = "free" if free else "used by another program; make up will choose another port"
        yield Finding(f"port {port} for {name} is {state}", True)
