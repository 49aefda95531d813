"""Errors that the user can fix, shown as a message, never as a traceback."""

from __future__ import annotations

import errno
import re

from tasks.core.redaction import redact

EXIT_BROKEN = 1
EXIT_USAGE = 2
EXIT_REFUSED = 3  # the gate refused the model
EXIT_UNDECIDED = 4  # the gate cannot decide: too few test images
EXIT_DATA_REFUSED = 5
EXIT_INTERRUPTED = 130  # Ctrl-C, as shells count it: 128 plus SIGINT


class RootstockError(Exception):
    """An error whose message explains what is wrong, where, and how to fix it.

    `key` identifies it in code and tests: the invalid parameter (`finetune.epochs`), or a code (`disk-full`).
    Credentials in addresses are hidden.
    """

    exit_code = EXIT_BROKEN

    def __init__(self, message: str, *, key: str) -> None:
        super().__init__(redact(message))
        self.key = key

    def __reduce__(self) -> tuple[object, ...]:
        """Returns how to copy the error, such as from another process, since `key` is not a positional argument."""
        return _copy, (type(self), self.args, self.__dict__)


def _copy(kind: type[RootstockError], arguments: tuple[str, ...], fields: dict[str, object]) -> RootstockError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(fields)
    return error


class ParamsError(RootstockError):
    """An invalid value in params.yaml or on the command line."""

    exit_code = EXIT_USAGE


class DamagedFileError(RootstockError, ValueError):
    """A file that Rootstock wrote is not what it wrote."""


class DataRefusedError(RootstockError):
    """The data failed a critical check, so no model has been trained on it."""

    exit_code = EXIT_DATA_REFUSED


FULL = {errno.ENOSPC, errno.EDQUOT}
DENIED = {errno.EROFS, errno.EACCES, errno.EPERM}
IN_RUST = re.compile(r"\(os error (\d+)\)")  # how libraries in Rust, such as safetensors, tell the system's error
IN_TORCH = re.compile(r"DefaultCPUAllocator: can't allocate memory|CUDA out of memory|MPS backend out of memory")
MORE_MEMORY = "end other programs, lower compute.batch, compute.memory or finetune.batch, or use a larger machine"
IN_SQLITE = "database or disk is full"


def as_user_error(error: BaseException) -> RootstockError | None:
    """Converts `error` to a user-facing error, or returns None if it is a bug.

    A full disk, memory that ran out, and files that may not be read or written are user-facing.
    """
    if isinstance(error, RootstockError):
        return error
    if isinstance(error, MemoryError) or IN_TORCH.search(str(error)):
        first = str(error).partition("\n")[0]
        return RootstockError(f"the memory is full ({first or 'MemoryError'}); {MORE_MEMORY}", key="memory-full")
    number = _number(error)
    if number in FULL:
        return RootstockError(
            f"the disk is full ({error}); free some space; make clean removes what can be recomputed",
            key="disk-full",
        )
    if number in DENIED:
        return RootstockError(f"no access ({error}): make it writable, then run the command again", key="no-access")
    return None


def _number(error: BaseException) -> int | None:
    """Returns the system's error number; None if the error is another one."""
    if isinstance(error, OSError):
        return error.errno
    if IN_SQLITE in str(error):
        return errno.ENOSPC
    match = IN_RUST.search(str(error))
    return int(match[1]) if match else None
