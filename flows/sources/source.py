"""What data.source names, in one form: files of this machine, embedded data, archives, or addresses of servers."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from flows.config.parameters import DIGITS, ROTATIONS, DataSection
from flows.local.environment import MAIN_CHECKOUT
from flows.sources.addresses import file_name, is_address
from flows.sources.copies import listing
from tasks.core.disk import GIB, refuse_if_full
from tasks.data.archives import is_archive, listed_bytes, single_folder, unpack


class Files(NamedTuple):
    """A folder of images, or a table of them, on this machine.

    A table may name files outside of its folder only if it is `trusted`; one `in_archive` may have any name.
    """

    path: Path
    trusted: bool = True
    in_archive: bool = False


class Source(Protocol):
    """Images, wherever they are."""

    def read(self, place: Path) -> Files:
        """Returns the files of the source: themselves if they are here, else written into a folder in `place`.

        What is there from an earlier call and has not changed is kept. Raises RootstockError, with what to do, if the
        source cannot be read.
        """


def source_of(data: DataSection) -> Source:
    """Returns the source that data.source names. Reads nothing yet."""
    if is_address(data.source):
        return AddressSource(data.source, data.archive_limit)
    return EMBEDDED.get(data.source) or LocalSource(MAIN_CHECKOUT / data.source, data.archive_limit)


@dataclass(frozen=True)
class LocalSource:
    """A folder, a table or an archive; the limit of what an archive unpacks to is in GiB."""

    path: Path
    archive_limit: float

    def read(self, place: Path) -> Files:
        """Returns the path itself, or the folder that the archive was unpacked to."""
        if self.path.is_file() and is_archive(self.path):
            return Files(unpacked(self.path, place, self.archive_limit), trusted=False, in_archive=True)
        return Files(self.path)


@dataclass(frozen=True)
class AddressSource:
    """A folder, an archive or a table with its folder on a server; see flows/sources/addresses.py."""

    address: str
    archive_limit: float

    def read(self, place: Path) -> Files:
        """Downloads what is new or has changed, and unpacks an archive."""
        from flows.sources.mirror import Mirror
        from flows.sources.remote import Remote

        key = hashlib.sha256(self.address.encode()).hexdigest()
        mirror = Mirror(Remote(self.address), place / f"address-{key[:16]}")
        mirror.update()
        path = mirror.files / file_name(self.address)
        return LocalSource(path, self.archive_limit).read(place)._replace(trusted=False)


@dataclass(frozen=True)
class EmbeddedSource:
    """Data that is rendered by this function of tasks.embedded.digits."""

    name: str
    function: str
    table: str = ""

    def read(self, place: Path) -> Files:
        """Renders the images, once."""
        return Files(rendered(place / self.name, self.function) / self.table)


EMBEDDED: dict[str, Source] = {
    DIGITS: EmbeddedSource(DIGITS, "render"),
    ROTATIONS: EmbeddedSource(ROTATIONS, "render_rotations", "manifest.csv"),
}


def unpacked(archive: Path, folder: Path, max_gib: float) -> Path:
    """Unpacks an archive, once per path, size and mtime, and returns its folder. The limit is in GiB.

    Raises RootstockError if the disk has no room for the files that a zip archive lists.
    """
    key = hashlib.sha256(f"{archive.resolve()}:{listing(archive)}".encode()).hexdigest()
    target = folder / f"archive-{key[:16]}"
    if target.exists():
        return single_folder(target)
    needed = min(listed_bytes(archive), int(max_gib * GIB))  # beyond the limit, unpacking ends
    refuse_if_full({folder: needed}, f"unpacking {archive}", "free some space, or set paths.state to a larger disk")
    return unpack(archive, target, max_gib)


def rendered(folder: Path, by: str) -> Path:
    """Renders embedded data into `folder`, once, with this function of tasks.embedded.digits. Returns the folder."""
    if not folder.exists():
        from tasks.embedded import digits

        beside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
        shutil.rmtree(beside, ignore_errors=True)
        render: Callable[[Path], None] = getattr(digits, by)
        render(beside)
        beside.rename(folder)
    return folder
