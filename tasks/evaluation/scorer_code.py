"""The code shipped with a version, which is read once, checked, and run from the checked bytes."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import decode_source, spec_from_loader
from pathlib import Path
from types import CodeType, ModuleType

# --- the loader: the same text in scorer_code.py and model_code.py, which must not import this project
CODE_FILES = {  # by "format" in spec.json, absent in format 1; the last file defines Scorer
    1: ("scorer.py",),
    2: (
        *("scorer/decode.py", "scorer/preprocessing.py", "scorer/architectures.py", "scorer/heads.py"),
        *("scorer/network.py", "scorer/labels.py", "scorer/answer.py"),
    ),
    3: (
        *("scorer/memory.py", "scorer/formats.py", "scorer/readers.py", "scorer/decode.py", "scorer/preprocessing.py"),
        *("scorer/architectures.py", "scorer/heads.py", "scorer/network.py", "scorer/labels.py", "scorer/answer.py"),
    ),
}


def read_code(folder: Path, spec: bytes) -> dict[str, bytes]:
    """Reads the source files that the format in a version's spec.json lists, each once. Returns them by name.

    Raises ValueError if the format is unknown, and OSError if a file is missing.
    """
    number = json.loads(spec).get("format", 1)
    if number not in list(CODE_FILES):
        raise ValueError(f"its format is {number!r}; the newest one supported here is {max(CODE_FILES)}")
    return {name: (folder / name).read_bytes() for name in CODE_FILES[number]}


def digest_of(code: Mapping[str, bytes], spec: bytes, weights: Path) -> str:
    """Returns one SHA-256 of the source files in the order of the format, spec.json, and the weights."""
    with weights.open("rb") as file:
        last = hashlib.file_digest(file, "sha256").hexdigest()
    digests = [*(hashlib.sha256(content).hexdigest() for content in (*code.values(), spec)), last]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def run_code(code: Mapping[str, bytes]) -> ModuleType:
    """Executes all source files and returns the module of the last one."""
    loader = CodeLoader(code)
    if loader.package not in sys.modules:
        sys.meta_path.insert(0, loader)
    return [import_module(name) for name in loader.sources][-1]


class CodeLoader(MetaPathFinder, InspectLoader):
    """Imports source files from memory, so that neither a changed file nor a stale .pyc is run.

    They form a package named by their digest: versions loaded in one process never share code, and a version that is
    loaded twice is one module.
    """

    def __init__(self, code: Mapping[str, bytes]) -> None:
        contents = [part for name, content in code.items() for part in (name.encode(), content)]
        digest = hashlib.sha256("".join(hashlib.sha256(part).hexdigest() for part in contents).encode())
        self.package = f"rootstock_scorer_{digest.hexdigest()}"
        self.sources = {self.package: b""}
        self.sources |= {f"{self.package}.{Path(name).stem}": content for name, content in code.items()}

    def find_spec(self, fullname: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        """Returns the spec of a module of this package, None for all others."""
        return spec_from_loader(fullname, self) if fullname in self.sources else None

    def is_package(self, fullname: str) -> bool:
        """Returns whether the name is the package itself, which has no folder on disk that could hold other modules."""
        return fullname == self.package

    def get_source(self, fullname: str) -> str:
        """Returns the source, for tracebacks."""
        return decode_source(self.sources[fullname])

    def get_code(self, fullname: str) -> CodeType:
        """Compiles the source."""
        return self.source_to_code(self.sources[fullname], f"{fullname.replace('.', '/')}.py")


# --- end of loader
