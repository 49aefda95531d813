"""Computes shards of work on an existing Dask cluster, whose workers share the file system and the code with this."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Generic, TypeVar

from tasks.core.errors import RootstockError
from tasks.core.ordered import in_order
from tasks.core.progress import say
from tasks.core.same_machine import Outcome, SameMachine, machine, refuse_difference
from tasks.core.scheduler_address import check_address
from tasks.core.spread import SCHEDULER

if TYPE_CHECKING:
    from distributed import Client, Future

Shard = TypeVar("Shard")
Result = TypeVar("Result")

CONNECT = 10  # seconds to wait for the scheduler
WORKERS = 300  # seconds to wait for a first worker, or without one for a result
AHEAD = 2  # shards in flight for each of the workers' threads; a worker that dies counts against all of them
PREFIX = "DASK_DISTRIBUTED__COMM__TLS__"
CERTIFICATES = f"{PREFIX}CA_FILE, {PREFIX}CLIENT__CERT and {PREFIX}CLIENT__KEY name the certificates"


def map_on_cluster(function: Callable[[Shard], Result], shards: Iterable[Shard], address: str) -> Iterator[Result]:
    """Yields `function(shard)` for each shard, in order, computed by the workers of the scheduler at `address`.

    Raises RootstockError if no scheduler or worker is there, if one of them has other code or packages, or if they go
    away. A shard whose worker has died is computed by another one. Without shards, nothing is asked.
    """
    check_address(address)
    remaining = iter(shards)
    first = list(islice(remaining, 1))
    if not first:
        return
    with _connected(address) as client:

        def submit(function: Callable[[Shard], Result], shard: Shard) -> Submitted[Result]:
            with _plain_errors(address):
                work = client.submit(SameMachine(function, machine()), shard, pure=False)
                return Submitted(work, client, address)

        def ahead() -> int:
            return AHEAD * max(1, _threads(client, address))

        yield from in_order(submit, function, chain(first, remaining), ahead)


@dataclass
class Submitted(Generic[Result]):
    """A shard's result that is being computed."""

    future: Future[Outcome[Result]]
    client: Client
    address: str

    def result(self) -> Result:
        """Returns the result, or raises the function's error. Raises RootstockError if all workers have gone."""
        outcome: Outcome[Result] | None = None
        while outcome is None:
            with _plain_errors(self.address), suppress(TimeoutError):
                outcome = self.future.result(timeout=WORKERS)
            if outcome is None and not _threads(self.client, self.address):
                raise _no_workers(self.address)
        return outcome.result()

    def cancel(self) -> None:
        """Cancels the work if it has not started."""
        with suppress(Exception):  # the client may be closed
            self.future.cancel()


@contextmanager
def _connected(address: str) -> Iterator[Client]:
    """Connects to a scheduler whose workers can compute the same, and disconnects afterwards."""
    from distributed import Client, Security

    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # errors are reported here
    try:
        client = Client(address, timeout=CONNECT, security=Security(), set_as_default=False)
    except (OSError, TypeError) as error:  # TypeError: certificates are missing
        remedy = f"; {CERTIFICATES}" if address.startswith("tls") else ""
        message = f"{SCHEDULER}: no scheduler answers at {address} ({error}); start it, or unset {SCHEDULER}{remedy}"
        raise RootstockError(message, key="no-scheduler") from None
    try:
        _check_workers(client, address)
        yield client
    finally:
        with suppress(Exception):  # the connection may be lost
            client.close(timeout=CONNECT)


def _check_workers(client: Client, address: str) -> None:
    """Raises RootstockError if there are no workers, or one that differs from this machine or is without TLS."""
    threads = _threads(client, address) or _awaited_threads(client, address)
    with _plain_errors(address):
        facts = client.run(machine, on_error="return")
    for worker, there in facts.items():
        if not worker.startswith(address.partition("://")[0]):
            message = f"{SCHEDULER}: the worker {worker} has no TLS; start it with certificates, or stop it"
            raise RootstockError(message, key="scheduler-without-tls")
        if isinstance(there, OSError):  # it has died
            continue
        if isinstance(there, Exception):
            raise _other_code(address, str(there))
        refuse_difference(machine(), there, worker)
    say(f"computing on {len(facts)} workers with {threads} threads, at {address}")


def _awaited_threads(client: Client, address: str) -> int:
    """Returns the threads of workers as soon as one is there. Raises RootstockError if none comes."""
    say(f"waiting up to {WORKERS // 60} minutes for workers at {address}")
    with suppress(TimeoutError), _plain_errors(address):
        client.submit(int, pure=False).result(timeout=WORKERS)  # adaptive clusters scale up for work that waits
    threads = _threads(client, address)
    if not threads:
        raise _no_workers(address)
    return threads


def _threads(client: Client, address: str) -> int:
    """Returns the threads of workers that accept work; a paused one, whose memory is full, does not."""
    with _plain_errors(address):
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return sum(worker["nthreads"] for worker in workers if worker["status"] == "running")


def _no_workers(address: str) -> RootstockError:
    message = f"{SCHEDULER}: the scheduler at {address} has no workers that accept work; start some, with more memory"
    return RootstockError(message, key="no-workers")


@contextmanager
def _plain_errors(address: str) -> Iterator[None]:
    """Converts Dask's errors to what the user can do."""
    from distributed import KilledWorker
    from distributed.client import ClosedClientError

    try:
        yield
    except KilledWorker as error:
        message = (
            f"{SCHEDULER}: the worker at {error.last_worker.address} died; {error.allowed_failures} others had died "
            "before it with the same work, begun or waiting; see their logs"
        )
        raise RootstockError(message, key="process-ended") from None
    except (CancelledError, ClosedClientError, OSError, AttributeError, KeyError):  # the last two of a closed client
        message = (
            f"{SCHEDULER}: lost the connection to the scheduler at {address}; what was finished is kept. Run the "
            f"command again when it is back, or unset {SCHEDULER}"
        )
        raise RootstockError(message, key="scheduler-gone") from None
    except (ModuleNotFoundError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "deserializ" not in str(error):
            raise
        raise _other_code(address, str(error).partition("\n")[0]) from None


def _other_code(address: str, reason: str) -> RootstockError:
    message = (
        f"{SCHEDULER}: the scheduler or a worker at {address} cannot import the code ({reason}); start both in the "
        "same checkout, with its .venv and with PYTHONPATH set to it"
    )
    return RootstockError(message, key="worker-differs")
