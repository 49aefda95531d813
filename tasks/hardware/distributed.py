"""One fit on several processes, a GPU each: every batch is shared out, and gradients are added up.

They are started here, on one machine, or by torchrun, also on several that share the folder. Without them everything
here is that of one process.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import ProcessException, spawn

from tasks.core.errors import RootstockError


def count() -> int:
    """How many processes work on this fit."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is; the first one writes and speaks for all."""
    return dist.get_rank() if count() > 1 else 0


def shard(rows: Tensor) -> Tensor:
    """The part of a batch's rows that this process computes."""
    return rows[rank() :: count()]


def all_reduce_sum(value: Tensor) -> Tensor:
    """The sum of the processes' tensors."""
    if count() > 1:
        dist.all_reduce(value)
    return value


def all_reduce_min(number: int, device: torch.device) -> int:
    """The least of the processes' numbers."""
    if count() == 1:
        return number
    found = torch.tensor(number, device=device)
    dist.all_reduce(found, dist.ReduceOp.MIN)
    return int(found)


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Every process gets the sum of all gradients, in one message."""
    gradients = [p.grad for p in parameters if p.grad is not None] if count() > 1 else []
    if not gradients:
        return
    flat = all_reduce_sum(torch.cat([gradient.flatten() for gradient in gradients]))
    for gradient, part in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def all_gather(rows: Tensor) -> Tensor:
    """The rows of all processes, those of the first one first."""
    if count() == 1:
        return rows
    parts: list[Any] = [None] * count()
    dist.all_gather_object(parts, rows.cpu())
    return torch.cat(parts).to(rows.device)


def all_reduce_mean(tensors: Iterable[Tensor]) -> None:
    """Every process gets the mean of their tensors, in place."""
    for tensor in tensors:
        all_reduce_sum(tensor).div_(count())


def synchronize_batchnorm(network: nn.Module, device: torch.device) -> None:
    """BatchNorm that learns its statistics takes them from the whole batch, where the device can."""
    if count() > 1 and device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]


@contextmanager
def torchrun_group(device: str) -> Iterator[None]:
    """Meets the other processes that torchrun started, as its environment says."""
    dist.init_process_group(_backend(device, int(os.environ["LOCAL_RANK"])))
    try:
        yield
    finally:
        dist.destroy_process_group()


def spawn_workers(processes: int, device: str, work: Callable[..., str], *arguments: object) -> str:
    """What the first of so many processes makes of the arguments; `work` is a module's function.

    They meet in a file and talk over the loopback interface. Raises RootstockError for what one of them raised.
    """
    with tempfile.TemporaryDirectory() as folder:
        given = (os.getpid(), processes, device, folder, work, *arguments)
        lost: Exception | None = None
        try:
            spawn(_one, args=given, nprocs=processes)  # type: ignore[no-untyped-call]
        except ProcessException as error:
            lost = error
        answers = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(Path(folder).glob("*.json"))]
    for answer in answers:
        if "error" in answer:
            told = RootstockError(answer["error"])
            told.exit_code = answer["exit_code"]
            raise told
    if lost:
        raise RootstockError(f"one of {processes} processes ended: {lost}") from lost
    return str(answers[0]["result"])


def _one(
    number: int, starter: int, processes: int, device: str, folder: str, work: Callable[..., str], *arguments: object
) -> None:
    """One of the processes: its number and place as torchrun tells them, then the work."""
    threading.Thread(target=_end_with, args=(starter,), daemon=True).start()
    os.environ.update(RANK=str(number), LOCAL_RANK=str(number), WORLD_SIZE=str(processes))
    loopback = "lo" if sys.platform == "linux" else "lo0"
    os.environ.update(GLOO_SOCKET_IFNAME=loopback, NCCL_SOCKET_IFNAME=loopback)
    backend = _backend(device, number)
    dist.init_process_group(backend, init_method=f"file://{folder}/meeting", rank=number, world_size=processes)
    file = Path(folder) / f"{number}.json"
    try:
        file.write_text(json.dumps({"result": work(*arguments)}), encoding="utf-8")
    except RootstockError as error:
        file.write_text(json.dumps({"error": str(error), "exit_code": error.exit_code}), encoding="utf-8")
        os._exit(1)  # the others may be waiting for this one, and are ended then
    dist.destroy_process_group()


def _backend(device: str, number: int) -> str:
    """What the processes talk by; where it is a GPU's, the process takes the one of its number."""
    if device not in {"auto", "cuda"} or not torch.cuda.is_available():
        return "gloo"
    torch.cuda.set_device(number)
    return "nccl"


def _end_with(starter: int) -> None:
    """A process whose starter is gone has nobody to work for."""
    while os.getppid() == starter:
        time.sleep(0.5)
    os._exit(1)
