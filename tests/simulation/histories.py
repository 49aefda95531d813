"""Runs histories: the code of releases, with a world in place of MLflow."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from flows.registry import (
    approval,
    ledger,
    ledger_end,
    ledger_owner,
    objections,
    promotion,
    promotion_requests,
    published,
    records,
    signing,
    versions,
)
from flows.registry.version_files import UNREADABLE
from flows.retention import removal
from tasks.core.errors import RootstockError
from tests.simulation.actions import ACTIONS, OTHERS
from tests.simulation.calm import calm
from tests.simulation.world import Crash, World

LENGTH = 10  # actions of a history
ASKERS = (promotion, promotion_requests, versions, ledger_owner, published, removal)  # modules that ask the registry


class Note:
    """A file in memory: where a ledger ended."""

    text: str | None = None

    def read_bytes(self) -> bytes:
        if self.text is None:
            raise FileNotFoundError
        return self.text.encode()

    def unlink(self, *, missing_ok: bool) -> None:
        self.text = None


class Clockwork:
    """Puts a world's registry in place of MLflow, and, for speed, hashes in place of signatures."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path) -> None:
        self.folder, self.world = folder, World(folder, 0)
        for module in ASKERS:
            patch.setattr(module, "client", lambda: self.world.registry)
        for module in (objections, approval, records, promotion):
            patch.setattr(module, "digest_of_version", self.digest_of)
        patch.setattr(signing, "public_key", lambda: self.world.machine)
        patch.setattr(signing, "sign", lambda text: _hash(self.world.machine, text))
        patch.setattr(signing, "is_signed", lambda text, key, signature: signature == _hash(key, text))
        patch.setattr(signing, "is_trusted", self.is_trusted)
        patch.setattr(records.git, "commit", lambda: "")
        patch.setattr(records, "warn", lambda _text: None)
        patch.setattr(published, "TemporaryDirectory", lambda: nullcontext(str(folder)))
        for module in (ledger_owner, approval):
            patch.setattr(module, "held", lambda *_: nullcontext())  # a history is one thread
        self.notes: dict[str, Note] = {}
        patch.setattr(ledger_end, "_file", lambda file: self.notes.setdefault(file.stem, Note()))
        patch.setattr(ledger_end, "write_text", lambda note, text: setattr(note, "text", text))
        patch.setattr(os, "fsync", lambda _file: None)
        self.append = ledger.Ledger._append
        patch.setattr(ledger.Ledger, "_append", lambda book, line: self.torn(book, line))  # noqa: PLW0108 - a method
        patch.setenv(signing.FOLDER_VARIABLE, str(folder / "config"))

    def digest_of(self, version: object) -> str:
        try:
            return self.world.registry.models[version.name].versions[str(version.version)].files
        except KeyError:
            raise RootstockError("its files are gone", key=UNREADABLE) from None

    def is_trusted(self, key: str) -> bool:
        return key == self.world.machine or (key == "lab" and self.world.rules.lab_is_trusted)

    def torn(self, book: ledger.Ledger, line: str) -> None:
        """Appends a line; a crash may leave a part of it, all of it, or nothing."""
        try:
            self.world.step("before")
        except Crash:
            with book.file.open("a") as file:
                file.write(line[: self.world.draw.randrange(len(line))])
            raise
        self.append(book, line)
        self.world.step("after")

    def run(self, seed: int, length: int = LENGTH) -> World:
        self.notes.clear()
        for file in self.folder.rglob("*.json*"):
            file.unlink()
        self.world = World(self.folder, seed, OTHERS)
        self.world.run(ACTIONS, length)
        calm(self.world)
        return self.world


def _hash(machine: str, text: str) -> str:
    return hashlib.sha256(f"{machine} {text}".encode()).hexdigest()


@contextmanager
def clockwork() -> Iterator[Clockwork]:
    """Yields what runs histories, in memory where the system has a file system there."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Clockwork(patch, Path(folder).resolve())


def broken(seeds: Iterable[int]) -> str:
    """Runs the histories with these seeds. Returns the first that breaks a rule, with how to repeat it, or nothing."""
    with clockwork() as works:
        for seed in seeds:
            try:
                works.run(seed)
            except Exception as error:
                trace = "\n".join(works.world.trace)
                return f"history {seed}: {type(error).__name__}: {error}\n{trace}\nmake simulate ARGS='--only {seed}'"
    return ""
