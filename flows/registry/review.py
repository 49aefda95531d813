"""Review of a version's code by a person, before it may run on this machine. Run by make trust."""

from __future__ import annotations

import io
import tokenize
import unicodedata
from pathlib import Path
from tempfile import TemporaryDirectory

from flows.registry.records import check_recorded
from flows.registry.trusted_code import code_digest, is_trusted, trust
from flows.registry.version_files import downloaded
from flows.registry.versions import resolve
from tasks.core.errors import RootstockError
from tasks.core.files import write_text

UNSEEN = {"Cc", "Cf", "Zl", "Zp"}  # Unicode categories of characters that change what is seen


def show_code(name: str, reference: str, folder: Path) -> str:
    """Writes the code of a version below `folder`, without running it. Returns where it is and what to do next."""
    code, number = _code(name, reference)
    digest = code_digest(code)
    if is_trusted(digest):
        return f"the code of version {number} of {name} may run already (SHA-256 {digest})"
    place = folder / digest[:16]
    texts = {file: _text(file, content) for file, content in code.items()}
    for file, text in texts.items():
        write_text(place / f"{file}.txt", text)
    return (
        f"version {number} of {name} ships this code (SHA-256 {digest}):\n{place.resolve()}\n"
        f"to let it run on this machine: make trust ARGS='{number} --why \"read by ...\"'"
    )


def allow(name: str, reference: str, why: str, folder: Path) -> str:
    """Allows the code of a version that `show_code` has written below `folder`. Returns a line that says so.

    Raises RootstockError if it was not shown: the version may have changed since.
    """
    code, number = _code(name, reference)
    digest = code_digest(code)
    if not is_trusted(digest) and not (folder / digest[:16]).is_dir():
        raise RootstockError(
            f"the code of version {number} of {name} (SHA-256 {digest[:16]}...) was not shown yet: read it first, with "
            f"make trust ARGS={number}",
            key="code-not-read",
        )
    trust(digest, why)
    return f"the code of version {number} of {name} may run on this machine (SHA-256 {digest})"


def _text(name: str, content: bytes) -> str:
    """Returns source code as text. Raises RootstockError if Python could read it differently from a person."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
    except SyntaxError:
        encoding = "unknown"
    text = content.decode(errors="replace")
    unseen = any(unicodedata.category(character) in UNSEEN and character not in "\n\t" for character in text)
    if encoding != "utf-8" or unseen or "\N{REPLACEMENT CHARACTER}" in text:
        raise RootstockError(
            f"{name} cannot be reviewed: it is not UTF-8, or has characters that are not shown, so what is read may "
            "not be what would run; do not allow it",
            key="code-not-readable",
        )
    return text


def _code(name: str, reference: str) -> tuple[dict[str, bytes], str]:
    version = resolve(name, reference)
    with TemporaryDirectory() as private:
        files = downloaded(version, Path(private))
        code = files.code()
        check_recorded(version, files)
        return code, str(version.version)
