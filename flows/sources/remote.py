"""Reads a server through fsspec: lists and downloads the files of an address; errors are reported in a sentence."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from flows.sources.addresses import HTTP, SERVICES, SSH, file_name, protocol_of
from flows.sources.remote_names import checked
from tasks.core.errors import FULL, ParamsError, RootstockError
from tasks.core.progress import counted
from tasks.data.archives import is_archive

TAGS = ("ETag", "etag", "generation", "Last-Modified", "LastModified", "last_modified", "updated", "mtime")
MD5 = re.compile(r'"?([0-9a-f]{32})"?')
CHUNK = 16 * 2**20  # bytes of a request; larger files are continued after the last one
MIB = 2**20
REFUSED, NOT_THERE = {401, 403}, {404, 410}  # statuses of HTTP
AGAIN = "run the command again: what was downloaded is kept"
CONNECT_SECONDS, READ_SECONDS = 30, 60


class RemoteFile(NamedTuple):
    """A file on a server: its size in bytes and MD5, if the server reports them; `tag` changes with its content."""

    path: str
    size: int | None
    tag: str
    md5: str | None


class Remote:
    """The folder or file of an address, with the credentials of the environment.

    Methods raise RootstockError, with the address and what to do, if the server does not answer or refuses.
    """

    def __init__(self, address: str) -> None:
        self.address, self._file, self._service = address, file_name(address), SERVICES[protocol_of(address)]
        with self._in_words():
            import fsspec

            options = _options(protocol_of(address))
            self._fs, path = fsspec.core.url_to_fs(address, skip_instance_cache=True, **options)
            self._path = str(path)

    def listing(self, *, blind: bool) -> dict[str, RemoteFile]:
        """Returns the files by relative path; a table's are those of its folder. See remote_names for the names.

        Raises ParamsError if there is no file.
        """
        with self._in_words():
            self._fs.invalidate_cache()
            infos = self._archive() if is_archive(Path(self._file)) else self._below(self._root())
        files = checked(self.address, infos, blind=blind)
        if not files or (self._file and self._file not in files):
            raise self._nothing()
        return {name: _remote_file(info) for name, info in sorted(files.items())}

    def download(self, file: RemoteFile, part: Path) -> None:
        """Writes the file to `part`; of a large file, only what is missing there.

        Raises RootstockError if the server sends another number of bytes than it reported before. A web server sends
        large files from the beginning again, since not all can do otherwise.
        """
        with self._in_words(), self._as_change(file):
            if file.size and file.size > CHUNK and self._service is not HTTP:
                self._in_chunks(file, file.size, part)
            else:
                self._fs.get_file(file.path, str(part))
        if part.is_symlink() or (part.exists() and not part.is_file()):
            part.unlink()
            raise self._changed(file, "is no regular file")
        size = part.stat().st_size if part.exists() else 0
        if file.size not in {None, size}:
            part.unlink(missing_ok=True)
            raise self._changed(file, f"has {size} bytes instead of {file.size}")

    def _in_chunks(self, file: RemoteFile, size: int, part: Path) -> None:
        with part.open("ab") as written:
            starts = range(written.tell(), size, CHUNK)
            for start in counted(starts, len(starts), f"parts of {CHUNK // MIB} MiB downloaded"):
                written.write(self._fs.cat_file(file.path, start=start, end=min(start + CHUNK, size)))
                written.flush()

    @contextmanager
    def _as_change(self, file: RemoteFile) -> Iterator[None]:
        """Raises RootstockError if the file, which was listed, is gone."""
        try:
            yield
        except FileNotFoundError:
            raise self._changed(file, "is gone") from None

    def _changed(self, file: RemoteFile, what: str) -> RootstockError:
        return RootstockError(f"data.source: {self.address}: {file.path} {what}; {AGAIN}", key="source-changed")

    def _root(self) -> str:
        return self._path.rpartition("/")[0] if self._file else self._path.rstrip("/")

    def _archive(self) -> dict[str, dict[str, Any]]:
        return {self._file: self._fs.info(self._path)}

    def _below(self, root: str) -> dict[str, dict[str, Any]]:
        """Returns what the server tells of each file below a folder, by relative path."""
        infos = self._fs.find(root, detail=True)
        odd = sorted(name for name, info in infos.items() if info.get("type", "file") != "file")
        if odd:
            message = f"data.source: {self.address}: {odd[0]} is a link or a device; put the files themselves there"
            raise ParamsError(message, key="source-names")
        return {name.removeprefix(f"{root}/"): info for name, info in infos.items() if name.startswith(f"{root}/")}

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        """Raises the errors of fsspec, of its packages and of servers as RootstockErrors."""
        try:
            yield
        except RootstockError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in FULL:
                raise
            raise self._failure(error) from None

    def _nothing(self) -> ParamsError:
        message = f"data.source: {self.address}: nothing is there; check the spelling, and whether you may list it"
        return ParamsError(message, key="data.source")

    def _failure(self, error: Exception) -> RootstockError:
        if isinstance(error, FileNotFoundError):
            cause = error.__cause__  # fsspec raises it for anything that a web server answers
            if self._service is HTTP and isinstance(cause, Exception) and _status(cause) not in NOT_THERE:
                return self._failure(cause)
            return self._nothing()
        reason = (f"{error}".strip() or type(error).__name__).partition("\n")[0]
        is_refused = isinstance(error, PermissionError) or _status(error) in REFUSED
        if is_refused or "Credentials" in type(error).__name__:
            remedy = self._service.credentials
            message = f"data.source: {self.address}: access was refused ({reason}); {remedy}"
            return RootstockError(message, key="source-denied")
        message = f"data.source: {self.address} could not be read ({reason}); check the network, and {AGAIN}"
        return RootstockError(message, key="source-unreachable")


def _status(error: Exception) -> int | None:
    return getattr(error, "status", None)


def _remote_file(info: Mapping[str, Any]) -> RemoteFile:
    tag = next((str(info[name]) for name in TAGS if info.get(name)), "")
    return RemoteFile(info["name"], info.get("size"), tag, _md5(info))


def _md5(info: Mapping[str, Any]) -> str | None:
    """Returns the MD5 of the content as hexadecimal digits: S3's ETag often is it, Google tells it in base64."""
    if info.get("md5Hash"):
        return base64.b64decode(str(info["md5Hash"])).hex()
    match = MD5.fullmatch(str(info.get("ETag")))
    return match[1] if match else None


def _options(protocol: str) -> dict[str, Any]:
    """Returns options of fsspec's file systems whose defaults are unsafe or too short."""
    if SERVICES[protocol] is SSH:
        return {"known_hosts": ()}  # the user's file; by default, sshfs trusts any host
    if SERVICES[protocol] is HTTP:
        import aiohttp

        from flows.sources.redirects import tracing

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS)
        headers = {"Accept-Encoding": "identity"}  # sizes are those of the files
        return {
            "client_kwargs": {"trust_env": True, "timeout": timeout, "trace_configs": [tracing()], "headers": headers}
        }
    return {}
