"""Pictures that end the process that decodes them, such as by a fault of a library in C: they are not tried again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MOST = 1000  # digests that are kept; each costs an attacker two processes
REASON = "this picture has ended the process that answers it twice, so it is not tried again"


@dataclass(frozen=True)
class Quarantine:
    """The digests of such pictures, as names of empty files in a folder that all workers of a version share."""

    folder: Path
    slot: str  # the name of this worker's place, which its successor has, too

    def holds(self, data: bytes) -> bool:
        """Returns whether a picture is not to be tried."""
        with os.scandir(self.folder) as entries:
            is_empty = next(entries, None) is None
        return not is_empty and self._file(data).exists()  # mostly, nothing has to be hashed

    @contextmanager
    def trying(self, data: bytes) -> Iterator[None]:
        """Takes note of the picture in work, for a process that is to be asked again after one has died."""
        note = self._file(data).with_suffix(f".{self.slot}")
        note.touch()
        try:
            yield
        finally:
            note.unlink(missing_ok=True)

    def settle(self) -> list[str]:
        """Quarantines what this worker's predecessor was trying when it died. Returns the digests."""
        self.folder.mkdir(parents=True, exist_ok=True)
        notes = list(self.folder.glob(f"*.{self.slot}"))
        for note in notes:
            note.replace(note.with_suffix(""))
        ages = sorted(
            (file for file in self.folder.iterdir() if not file.suffix), key=lambda file: file.stat().st_mtime
        )
        for file in ages[:-MOST]:
            file.unlink(missing_ok=True)
        return [note.stem for note in notes]

    def _file(self, data: bytes) -> Path:
        return self.folder / hashlib.sha256(data).hexdigest()
