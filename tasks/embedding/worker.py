"""What a worker of a cluster checks before it computes a shard, and keeps for the next one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import Generic, TypeVar

from tasks.core.errors import RootstockError
from tasks.core.same_machine import refuse_difference
from tasks.embedding.extraction import one_thread_facts
from tasks.hardware.device import Device, processor_facts

Value = TypeVar("Value")


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


class LastLoaded(Generic[Value]):
    """Keeps what was loaded last, such as a network, for all threads and for the next shards."""

    def __init__(self) -> None:
        self._values: dict[str, Value] = {}
        self._lock = Lock()

    def get(self, name: str, load: Callable[[], Value]) -> Value:
        """Returns the value of this name; `load` is called if another one was asked for before."""
        with self._lock:
            if name not in self._values:
                self._values.clear()
                self._values[name] = load()
            return self._values[name]
