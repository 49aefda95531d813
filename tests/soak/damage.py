"""Damages to single files: what the power, a bad disk or an editor can leave."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.project import wait_until
from tests.soak.trial import Trial


def nothing(_trial: Trial) -> None:
    """Does nothing before the damage."""


def settle(trial: Trial) -> None:
    """Lets the copied project rewrite the paths in its database, which the first command does."""
    trial.project.flows()


@dataclass(frozen=True)
class Damage:
    """A file to damage, by a pattern below the project, and what an error about it must say."""

    pattern: str
    words: tuple[str, ...]
    before: Callable[[Trial], None] = nothing
    is_removed: bool = False  # whether the remedy is to remove the file


def interrupt_finetune(trial: Trial) -> None:
    """Kills a retraining that has written a checkpoint."""
    attempt = trial.start()
    checkpoints = trial.root / ".state" / "checkpoints"
    before = set(checkpoints.rglob("*.safetensors"))
    wait_until(lambda: attempt.is_over() or set(checkpoints.rglob("*.safetensors")) - before, 300)
    attempt.process.kill()
    trial.end(attempt)


def begin_prefect_database(trial: Trial) -> None:
    """Lets a temporary server create its database."""
    trial.project.more = {}
    attempt = trial.start()
    wait_until(lambda: attempt.is_over() or trial.prefect_database().exists(), 120)
    attempt.process.kill()
    trial.end(attempt)


DAMAGES = {
    "pins corrupt": Damage("data/pins.json", ("pins.json",)),
    "dvc.lock corrupt": Damage("dvc.lock", ("dvc.lock",)),
    "checkpoint corrupt": Damage(".state/checkpoints/**/*.safetensors", ("checkpoint",), interrupt_finetune),
    "features corrupt": Damage(".state/features/**/*.safetensors", ("feature store",)),
    "mlflow.db corrupt": Damage(".registry/mlflow.db", ("mlflow.db",), settle),
    "prefect.db corrupt": Damage(
        ".registry/prefect/prefect.db", ("prefect.db",), begin_prefect_database, is_removed=True
    ),
}


def damage(trial: Trial, of: Damage) -> Callable[[], None]:
    """Damages each file of the pattern by a drawn way. Returns a function that restores or removes them."""
    files = sorted(trial.root.glob(of.pattern))
    if not files:
        raise AssertionError(f"there is no {of.pattern}")
    kept = [(file, trial.folder / f"kept-{number}") for number, file in enumerate(files)]
    for file, copy in kept:
        shutil.copy2(file, copy)
        _way(trial.cycle.variant)(file)

    def repair() -> None:
        for file, copy in kept:
            file.unlink(missing_ok=True)
            if not of.is_removed:
                shutil.copy2(copy, file)

    return repair


def _way(variant: float) -> Callable[[Path], None]:
    return (cut, overwrite, empty)[int(variant * 3)]


def cut(file: Path) -> None:
    """Removes the second half."""
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])


def overwrite(file: Path) -> None:
    """Overwrites the first page and one in the middle."""
    data = bytearray(file.read_bytes())
    for start in (0, len(data) // 2):
        length = min(512, len(data) - start)
        data[start : start + length] = bytes(range(256)) * (length // 256) + b"\xff" * (length % 256)
    file.write_bytes(bytes(data))


def empty(file: Path) -> None:
    """Leaves an empty file, as some file systems do after a power failure."""
    file.write_bytes(b"")
