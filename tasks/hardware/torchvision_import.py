"""Imports torchvision without torch's compiler, which takes longer than all the rest of torch and torchvision.

Two of its modules import the compiler for functions that Rootstock does not use. Here they do so when those are called.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

IMPORT_COMPILER = ("torchvision.ops.roi_align", "torchvision.tv_tensors")
COMPILER = "torch._dynamo.utils"


def without_compiler() -> None:
    """Makes a later import of torchvision leave out the compiler. What compiles imports it as usual."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Finds the two modules, as usual, and has them loaded by `_Loader`."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name in IMPORT_COMPILER else None
        if spec and spec.loader:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(Loader):
    """Loads a module while the compiler is not imported but promised."""

    def __init__(self, usual: Loader) -> None:
        self._usual = usual

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._usual.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        with _promised():
            self._usual.exec_module(module)


@contextmanager
def _promised() -> Iterator[None]:
    """Puts functions that import the compiler when they are called in the place of those that the modules import."""
    import torch

    disable, stand_in = torch.compiler.disable, ModuleType(COMPILER)
    stand_in.__dict__["is_compile_supported"] = _is_compile_supported
    is_first = sys.modules.setdefault(COMPILER, stand_in) is stand_in
    torch.compiler.disable = getattr(torch, "_disable_dynamo", disable)
    try:
        yield
    finally:
        torch.compiler.disable = disable
        if is_first:
            del sys.modules[COMPILER]


def _is_compile_supported(device_type: str) -> bool:
    return bool(importlib.import_module(COMPILER).is_compile_supported(device_type))
