"""What a worker of a cluster checks before it computes a shard, and keeps for the next one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Condition
from typing import Any, TypeVar

import torch

from tasks.core.errors import RootstockError
from tasks.core.same_machine import refuse_difference
from tasks.embedding.extraction import one_thread_facts
from tasks.hardware.device import Device, processor_facts

Value = TypeVar("Value")
CPU = Device(torch.device("cpu"), torch.float32)


def facts_of_bits(device: Device) -> dict[str, str]:
    """Returns the facts that determine the bits of what one thread computes on the device."""
    return {**one_thread_facts(device), **processor_facts()}


def check_worker(expected: Mapping[str, str], device: Device, *folders: Path) -> None:
    """Raises RootstockError if results would not be the same bits, or if folders are not where the client has them."""
    if missing := [folder for folder in folders if not folder.is_dir()]:
        message = f"a worker does not see {missing[0]}: workers need the client's file system at the same paths"
        raise RootstockError(message, key="worker-differs")
    try:
        here = facts_of_bits(device)
    except (RuntimeError, AssertionError):  # there is no such device
        here = {**expected, "device": "no " + device.device.type}
    refuse_difference(expected, here)


class Loaded:
    """Keeps what was loaded last, such as a network, for all threads of this process and for the next shards.

    torch.fx, which folds networks, patches all modules of the process meanwhile. So something else is loaded only when
    no shard is being computed.
    """

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        self._shards, self._changed = 0, Condition()

    @contextmanager
    def using(self, name: str, load: Callable[[], Value]) -> Iterator[Value]:
        """Yields the value of this name while a shard is computed with it; loads it if another one was loaded last."""
        with self._changed:
            self._changed.wait_for(lambda: name in self._values or not self._shards)
            if name not in self._values:
                self._values.clear()
                self._values[name] = load()
            value: Value = self._values[name]
            self._shards += 1
        try:
            yield value
        finally:
            with self._changed:
                self._shards -= 1
                self._changed.notify_all()


LOADED = Loaded()
