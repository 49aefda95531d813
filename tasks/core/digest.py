"""Finds the source files that a module depends on: its import closure, parsed from the source."""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tasks.core.files import sha256_of

ROOT = Path(__file__).parents[2]
MODULE = re.compile(r"tasks(\.\w+)+(?=:|$)")  # a string that names a project module: "module" or "module:Class"


def closure(*modules: str) -> tuple[Path, ...]:
    """Returns the sorted files of `modules` and of everything they import, including imports inside functions.

    Includes relative imports and strings that name a project module, such as `tasks.core.files`, which is
    tasks/core/files.py. Excludes imports under `TYPE_CHECKING`, since they never run.
    """
    seen: set[Path] = set()
    waiting = [_file(module) for module in modules]
    while waiting:
        file = waiting.pop()
        if file not in seen:
            seen.add(file)
            waiting += _imports(file)
    return tuple(sorted(seen))


@cache
def code_digest(*modules: str) -> str:
    """Returns the SHA-256 of the paths and contents of the closure's files, the code part of a cache key.

    The digest is computed once per process. A caller that passes its own `__name__` must not run as a script.
    """
    digest = hashlib.sha256()
    for file in closure(*modules):
        digest.update(f"{file.relative_to(ROOT).as_posix()} {sha256_of(file)}\n".encode())
    return digest.hexdigest()


def _file(module: str) -> Path:
    return ROOT / (module.replace(".", "/") + ".py")


@cache
def _imports(file: Path) -> tuple[Path, ...]:
    files = {_file(name) for name in imports_at_run_time(file)}
    return tuple(sorted(module for module in files if module.is_file()))


def imports_at_run_time(file: Path) -> set[str]:
    """Returns the dotted names of the modules, and of their members, that a file may import at run time."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    package = file.parent.relative_to(ROOT).parts
    return {name for node in _running(tree) for name in _names(node, package)}


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """Yields all nodes except those under `if TYPE_CHECKING`."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            continue
        yield from _running(child)


def _names(node: ast.AST, package: tuple[str, ...]) -> list[str]:
    """Returns the dotted names that a node may import, including members of modules."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        above = package[: len(package) - node.level + 1] if node.level else ()
        base = ".".join([*above, *filter(None, [node.module])])
        return [base, *(f"{base}.{alias.name}" for alias in node.names)]
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and (match := MODULE.match(node.value)):
        return [match[0]]
    return []
