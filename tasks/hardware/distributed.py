"""Data-parallel training: each process computes a shard of every batch, and gradients are summed.

Processes are spawned here, on one machine, or by torchrun, possibly on several machines that share the project folder.
In a single process every collective is the identity. Shapes: N rows of a batch, M rows of this process's shard.
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
from tasks.hardware.heap import reuse_freed_memory


def count() -> int:
    """Returns the number of processes of this fit."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Returns the rank of this process; rank 0 writes files and reports progress."""
    return dist.get_rank() if count() > 1 else 0


def shard(rows: Tensor) -> Tensor:
    """Returns this process's shard, (M, ...), of a batch (N, ...)."""
    return rows[rank() :: count()]


def all_reduce_sum(value: Tensor) -> Tensor:
    """Sums a tensor of any shape over the processes, in place, and returns it."""
    if count() > 1:
        dist.all_reduce(value)
    return value


def all_reduce_min(number: int, device: torch.device) -> int:
    """Returns the minimum of `number` over the processes."""
    if count() == 1:
        return number
    minimum = torch.tensor(number, device=device)
    dist.all_reduce(minimum, dist.ReduceOp.MIN)
    return int(minimum)


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Sums the gradients over the processes, in place, in a single all-reduce."""
    gradients = [p.grad for p in parameters if p.grad is not None] if count() > 1 else []
    if not gradients:
        return
    flat = all_reduce_sum(torch.cat([gradient.flatten() for gradient in gradients]))
    for gradient, part in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def all_gather(rows: Tensor) -> Tensor:
    """Gathers this process's rows, (M, ...), with those of all other processes, in rank order, and returns (N, ...)."""
    if count() == 1:
        return rows
    parts: list[Any] = [None] * count()
    dist.all_gather_object(parts, rows.cpu())
    return torch.cat(parts).to(rows.device)


def all_reduce_mean(tensors: Iterable[Tensor]) -> None:
    """Replaces each tensor, of any shape, with its mean over the processes, in place."""
    for tensor in tensors:
        all_reduce_sum(tensor).div_(count())


def synchronize_batchnorm(network: nn.Module, device: torch.device) -> None:
    """Makes BatchNorm compute its statistics over the batch of all processes, on CUDA."""
    if count() > 1 and device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]


@contextmanager
def torchrun_group(device: str) -> Iterator[None]:
    """Joins the process group that torchrun's environment variables describe, until the context ends."""
    dist.init_process_group(_backend(device, int(os.environ["LOCAL_RANK"])))
    try:
        yield
    finally:
        dist.destroy_process_group()


def spawn_workers(processes: int, device: str, work: Callable[..., str], *arguments: object) -> str:
    """Runs `work(*arguments)` in `processes` new processes and returns the result of rank 0.

    `work` must be a module-level function. The processes meet through a file and communicate over the loopback
    interface. Re-raises a RootstockError raised by any process, and raises a RootstockError if one exits unexpectedly.
    """
    with tempfile.TemporaryDirectory() as folder:
        worker_arguments = (os.getpid(), processes, device, folder, work, *arguments)
        crash: Exception | None = None
        try:
            spawn(_run_worker, args=worker_arguments, nprocs=processes)  # type: ignore[no-untyped-call]
        except ProcessException as error:
            crash = error
        answers = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(Path(folder).glob("*.json"))]
    for answer in answers:
        if "error" in answer:
            reported = RootstockError(answer["error"], key=answer["key"])
            reported.exit_code = answer["exit_code"]
            raise reported
    if crash:
        raise RootstockError(f"one of {processes} processes ended: {crash}", key="process-ended") from crash
    return str(answers[0]["result"])


def _run_worker(
    number: int, parent: int, processes: int, device: str, folder: str, work: Callable[..., str], *arguments: object
) -> None:
    """Runs `work` with rank `number` in the group, with the environment variables that torchrun would set."""
    reuse_freed_memory()
    threading.Thread(target=_exit_with, args=(parent,), daemon=True).start()
    os.environ.update(RANK=str(number), LOCAL_RANK=str(number), WORLD_SIZE=str(processes))
    loopback = "lo" if sys.platform == "linux" else "lo0"
    os.environ.update(GLOO_SOCKET_IFNAME=loopback, NCCL_SOCKET_IFNAME=loopback)
    backend = _backend(device, number)
    dist.init_process_group(backend, init_method=f"file://{folder}/meeting", rank=number, world_size=processes)
    file = Path(folder) / f"{number}.json"
    try:
        file.write_text(json.dumps({"result": work(*arguments)}), encoding="utf-8")
    except RootstockError as error:
        answer = {"error": str(error), "key": error.key, "exit_code": error.exit_code}
        file.write_text(json.dumps(answer), encoding="utf-8")
        os._exit(1)  # so that torch ends the other processes, which may be waiting for this one
    dist.destroy_process_group()


def _backend(device: str, number: int) -> str:
    """Returns the communication backend; with nccl, also selects the GPU with this number."""
    if device not in {"auto", "cuda"} or not torch.cuda.is_available():
        return "gloo"
    torch.cuda.set_device(number)
    return "nccl"


def _exit_with(parent: int) -> None:
    """Ends this process when its parent has exited."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
