"""Weights files: safetensors with their own description, or PyTorch's format without running pickled code."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tasks.core.errors import RootstockError
from tasks.core.files import replacing

DESCRIPTION = "rootstock"


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A state dict in float32, and the description that a safetensors file carries ({} if none).

    Raises RootstockError if the file is missing or holds anything but named tensors.
    """
    if not path.is_file():
        raise RootstockError(f"weights {path} do not exist; set backbone.weights to a .safetensors or .pth file")
    with path.open("rb") as file:
        start = file.read(9)
    pickled = start[:2] in {b"PK", b"\x80\x02"} and start[8:] != b"{"  # safetensors: a length of 8 bytes, then JSON
    state, description = _read_torch(path) if pickled else _read_safetensors(path)
    return {
        name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()
    }, description


def described(path: Path) -> dict[str, Any]:
    """What a safetensors file says of itself, without its tensors; {} if nothing, or it is another format."""
    try:
        with safe_open(path, "pt") as file:
            return dict(json.loads((file.metadata() or {}).get(DESCRIPTION, "{}")))
    except SafetensorError:
        return {}


def write(path: Path, state: dict[str, Tensor], description: dict[str, Any] | None = None) -> None:
    """Replaces `path` by a safetensors file of these tensors."""
    metadata = {DESCRIPTION: json.dumps(description)} if description else None
    with replacing(path) as beside:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}, beside, metadata)


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, "pt") as file:
            description = json.loads((file.metadata() or {}).get(DESCRIPTION, "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, description  # noqa: SIM118 - not a dict
    except SafetensorError as error:
        raise RootstockError(f"weights {path} are neither safetensors nor a PyTorch file: {error}") from None


def _read_torch(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        first = str(error).partition("\n")[0]
        raise RootstockError(f"weights {path} were not loaded, since more than tensors is in them: {first}") from None
    except Exception as error:  # what a damaged file raises is an open set
        first = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise RootstockError(f"weights {path} cannot be read, is the file whole? {first}") from None
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise RootstockError(f"weights {path} are no state dict; save them with torch.save(model.state_dict(), path)")
    return state, {}
