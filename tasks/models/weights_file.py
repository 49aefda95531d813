"""Reads and writes weights: safetensors with a description, and PyTorch files without running pickled code."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tasks.core.errors import RootstockError
from tasks.core.files import replacing, sha256_of

DESCRIPTION = "rootstock"
SHA256 = "sha256"  # key in the description of a PyTorch file: the digest of its bytes


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Returns a state dict in float32 and the description in a safetensors file ({} if there is none).

    The description of a PyTorch file, which contains none, is its digest.

    Raises RootstockError if the file is missing or contains anything but named tensors.
    """
    if not path.is_file():
        raise RootstockError(
            f"weights {path} do not exist; set backbone.weights to a .safetensors or .pth file", key="weights-missing"
        )
    with path.open("rb") as file:
        start = file.read(9)
    pickled = start[:2] in {b"PK", b"\x80\x02"} and start[8:] != b"{"  # safetensors: a length of 8 bytes, then JSON
    state, description = _read_torch(path) if pickled else _read_safetensors(path)
    try:
        return {name: _as_float32(tensor) for name, tensor in state.items()}, description
    except (NotImplementedError, RuntimeError) as error:  # some types of 4 and 6 bits cannot be converted
        raise RootstockError(
            f"weights {path} cannot be converted to float32: {error}; save them as float32 or half", key="weights-type"
        ) from None


def check_unchanged(path: Path, sha256: str) -> None:
    """Raises RootstockError if the file's digest is another one."""
    if sha256_of(path) != sha256:
        raise RootstockError(f"{path} has changed meanwhile; run the command again", key="weights-changed")


def _as_float32(tensor: Tensor) -> Tensor:
    """Returns a tensor of floating-point numbers in float32, any other as it is."""
    return tensor.float() if tensor.is_floating_point() else tensor


def read_description(path: Path) -> dict[str, Any]:
    """Returns the description in a file, as `read` does, without loading its tensors."""
    try:
        with safe_open(path, "pt") as file:
            return _description(path, file.metadata())
    except SafetensorError:
        return {SHA256: sha256_of(path)}


def write(path: Path, state: dict[str, Tensor], description: dict[str, Any] | None = None) -> None:
    """Writes the tensors and their description to a safetensors file, replacing `path` atomically."""
    metadata = {DESCRIPTION: json.dumps(description)} if description else None
    with replacing(path) as beside:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}, beside, metadata)


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, "pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            return state, _description(path, file.metadata())
    except SafetensorError as error:
        raise RootstockError(
            f"weights {path} are neither a safetensors nor a PyTorch file: {error}", key="weights-unreadable"
        ) from None


def _description(path: Path, metadata: Mapping[str, str] | None) -> dict[str, Any]:
    """Returns the description in a file's metadata. Raises RootstockError unless it is a JSON object."""
    try:
        description = json.loads((metadata or {}).get(DESCRIPTION, "{}"))
    except (ValueError, RecursionError):
        description = None
    if not isinstance(description, dict):
        raise RootstockError(
            f"weights {path}: their metadata {DESCRIPTION!r} is no JSON object; remove it, or write the file again",
            key="weights-description",
        )
    return description


def _read_torch(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        first = str(error).partition("\n")[0]
        raise RootstockError(
            f"weights {path} were not loaded because they contain more than tensors: {first}", key="weights-unsafe"
        ) from None
    except Exception as error:  # damaged files raise all kinds of exceptions
        first = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise RootstockError(
            f"weights {path} cannot be read; the file may be damaged or incomplete: {first}", key="weights-unreadable"
        ) from None
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise RootstockError(
            f"weights {path} are not a state dict; save them with torch.save(model.state_dict(), path)",
            key="weights-not-a-state-dict",
        )
    return state, {SHA256: sha256_of(path)}
