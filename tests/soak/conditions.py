"""Conditions that last until a person removes their cause: full disks, other processes, damaged files, the clock."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable

from tests.project import SOCKETS
from tests.soak import clock, mounts, state
from tests.soak.attempt import Attempt
from tests.soak.damage import DAMAGES, damage
from tests.soak.draw import REGISTER, Blow, Fault, Victim
from tests.soak.invariants import Invariant
from tests.soak.shared import two_checkouts, two_predictions, two_retrainings
from tests.soak.trial import Trial

FREE_MIB = 96  # of the small disk, besides the project
FULL = ("free some space", "File too large")
SMALLEST, LARGEST = 0, 512  # KiB left on a full disk


def at(phase: str, fraction: float) -> Fault:
    """Returns a time in a phase."""
    return Fault(Victim.FLOW, Blow.STOP, phase, fraction, 0.0)


def reach(trial: Trial, phase: str) -> Attempt:
    """Starts the command, and returns when it has come to a drawn time in a phase."""
    attempt = trial.start()
    attempt.await_phase(at(phase, trial.cycle.variant), trial.reference["lengths"])
    return attempt


def disk_full(phase: str) -> Callable[[Trial], None]:
    """Returns the condition of a disk that is full from this phase on."""

    def run(trial: Trial) -> None:
        is_mounted = _move_to_small_disk(trial)
        trial.scenario.prepare(trial.project)
        attempt = reach(trial, phase)
        left = int(trial.cycle.variant * 1000) % (LARGEST - SMALLEST) + SMALLEST
        ballast = mounts.fill(trial.root, left) if is_mounted else None
        if not is_mounted:
            mounts.limit_files(attempt.process.pid, left)
        trial.meet(attempt, *FULL)
        if ballast:
            ballast.unlink()
        trial.finish()

    return run


def _move_to_small_disk(trial: Trial) -> bool:
    """Copies the project to a small file system. Returns whether there is one."""
    size = sum(path.lstat().st_size for path in trial.root.rglob("*") if not path.is_dir()) // 2**20
    beside = trial.root.with_name("moved")
    trial.root.rename(beside)
    is_mounted = mounts.small_disk(trial.root, size + FREE_MIB)
    shutil.copytree(beside, trial.root, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*SOCKETS))
    shutil.rmtree(beside)
    return is_mounted


def read_only(trial: Trial) -> None:
    """Makes the folder data read-only, from the start or from the first stage that is to run."""
    trial.scenario.prepare(trial.project)
    attempt = trial.start() if trial.cycle.variant < 0.5 else reach(trial, "head")
    if not mounts.read_only(trial.root / "data"):
        trial.left_out = "no read-only folder can be mounted"
    trial.meet(attempt, "Read-only file system", "read-only")
    mounts.unmount_below(trial.root)
    if not trial.left_out:
        trial.finish()


def image_vanishes(trial: Trial) -> None:
    """Removes an image from the source while the source is copied, and puts it back later."""
    source = trial.folder / "images"
    shutil.copytree(trial.workshop.folder / "source2", source)
    trial.arguments = ("retrain", "--data.source", str(source))
    image = sorted((source / "val").rglob("*.png"))[-1]
    attempt, beside = trial.start(), trial.root / "data" / ".raw.new.tmp"
    while not beside.exists() and not attempt.is_over():
        time.sleep(0.0005)
    os.kill(attempt.process.pid, signal.SIGSTOP)
    image.rename(trial.folder / image.name)
    os.kill(attempt.process.pid, signal.SIGCONT)
    trial.meet(attempt, image.name, "changed", "vanished")
    (trial.folder / image.name).rename(image)
    trial.finish()


def damaged(name: str) -> Callable[[Trial], None]:
    """Returns the condition of a damaged file; if the command says so, the file is restored."""

    def run(trial: Trial) -> None:
        trial.scenario.prepare(trial.project)
        of = DAMAGES[name]
        of.before(trial)
        repaired = damage(trial, of)
        if not trial.is_done(trial.meet(trial.start(), *of.words)):
            repaired()
            trial.finish()

    return run


def clock_jumps(trial: Trial) -> None:
    """Sets the clock of the command's processes a day on or back, in the middle; then starts it by the right clock."""
    file = clock.prepare(trial.folder)
    if not file:
        trial.left_out = "no C compiler for the clock"
        return
    trial.scenario.prepare(trial.project)
    phase = ("head", "finetune", "evaluate", REGISTER)[int(trial.cycle.variant * 4)]
    attempt = trial.start(**clock.variables(trial.folder, file))
    attempt.await_phase(at(phase, 0.5), trial.reference["lengths"])
    clock.set_to(file, clock.DAY if int(trial.cycle.variant * 1000) % 2 else -clock.DAY)
    trial.meet(attempt)
    trial.finish()


def ledger_cut(trial: Trial) -> None:
    """Damages the ledger before a release: a torn last line is removed; anything else must be told."""
    trial.scenario.prepare(trial.project)
    file = state.ledger_file(trial.root)
    whole, lines = file.read_bytes(), file.read_bytes().split(b"\n")
    if trial.cycle.variant < 0.4:
        file.write_bytes(whole + lines[0][: len(lines[0]) // 2])
    elif trial.cycle.variant < 0.7:
        file.write_bytes(whole.replace(b'"released"', b'"refused"', 1))
    else:
        file.write_bytes(b"\n".join([lines[0][:-20], *lines[1:]]))
    code = trial.meet(trial.start(), "restore")
    if trial.cycle.variant >= 0.4:
        if trial.is_done(code):
            trial.breaks(Invariant.WORDS, "a changed ledger is not told")
        file.write_bytes(whole)
    trial.finish()


CONDITIONS: dict[str, Callable[[Trial], None]] = {
    "disk full in a stage": disk_full("features"),
    "disk full at registration": disk_full(REGISTER),
    "data read-only": read_only,
    "image vanishes": image_vanishes,
    "two retrainings": two_retrainings,
    "two checkouts, one database": two_checkouts("database"),
    "two checkouts, one server": two_checkouts("server"),
    "two predictions": two_predictions,
    **{name: damaged(name) for name in DAMAGES},
    "ledger cut": ledger_cut,
    "clock jumps": clock_jumps,
}
