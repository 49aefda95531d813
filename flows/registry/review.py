"""Review of a version's code by a person, before it may run on this machine. Run by make trust."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from flows.registry.trusted_code import code_digest, is_trusted, trust
from flows.registry.versions import checked_code, downloaded, resolve
from tasks.core.files import write_text


def show_code(name: str, reference: str, folder: Path) -> str:
    """Writes the code of a version below `folder`, without running it. Returns where it is and what to do next."""
    code, number = _code(name, reference)
    digest = code_digest(code)
    if is_trusted(digest):
        return f"the code of version {number} of {name} may run already (SHA-256 {digest})"
    place = folder / digest[:16]
    for file, content in code.items():
        write_text(place / f"{file}.txt", content.decode(errors="replace"))
    return (
        f"version {number} of {name} ships this code (SHA-256 {digest}):\n{place.resolve()}\n"
        f"to let it run on this machine: make trust ARGS='{number} --why \"read by ...\"'"
    )


def allow(name: str, reference: str, why: str) -> str:
    """Allows the code of a version on this machine. Returns a line that says so."""
    code, number = _code(name, reference)
    trust(code_digest(code), why)
    return f"the code of version {number} of {name} may run on this machine (SHA-256 {code_digest(code)})"


def _code(name: str, reference: str) -> tuple[dict[str, bytes], str]:
    version = resolve(name, reference)
    with TemporaryDirectory() as private:
        return checked_code(version, downloaded(version, private)), str(version.version)
