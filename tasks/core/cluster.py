"""Computes shards of work on an existing Dask cluster, whose workers share the file system and the code with this."""

from __future__ import annotations

import ipaddress
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Generic, TypeVar
from urllib.parse import urlsplit

from tasks.core.errors import RootstockError
from tasks.core.progress import say
from tasks.core.same_machine import SameMachine, machine, refuse_difference
from tasks.core.spread import SCHEDULER, in_order

if TYPE_CHECKING:
    from distributed import Client, Future

Shard = TypeVar("Shard")
Result = TypeVar("Result")

TLS = "ROOTSTOCK_SCHEDULER_TLS"  # off: a scheduler on this machine may be addressed without TLS
CONNECT, WORKERS = 10, 60  # seconds to wait for the scheduler, and for the first worker
AHEAD = 2  # shards in flight for each of the workers' threads; a worker that dies counts against all of them
KEPT = "what it has computed is kept: run the command again"


def map_on_cluster(function: Callable[[Shard], Result], shards: Iterable[Shard], address: str) -> Iterator[Result]:
    """Yields `function(shard)` for each shard, in order, computed by the workers of the scheduler at `address`.

    Raises RootstockError if no scheduler or worker is there, if one of them has other code or packages, or if they go
    away. A shard whose worker has died is computed by another one.
    """
    with _plain_errors(address), _connected(address) as client:
        checked = SameMachine(function, machine())

        def submit(function: Callable[[Shard], Result], shard: Shard) -> Submitted[Result]:
            return Submitted(client.submit(function, shard, pure=False), client, address)

        yield from in_order(submit, checked, shards, lambda: AHEAD * max(1, _threads(client)))


@dataclass
class Submitted(Generic[Result]):
    """A shard's result that is being computed."""

    future: Future[Result]
    client: Client
    address: str

    def result(self) -> Result:
        """Returns the result, or raises the function's error. Raises RootstockError if all workers have gone."""
        while True:
            try:
                return self.future.result(timeout=WORKERS)  # type: ignore[no-any-return]
            except TimeoutError:
                if self.future.done():  # the function's error
                    raise
            if not _threads(self.client):
                raise _no_workers(self.address)

    def cancel(self) -> None:
        """Leaves it out if it has not begun."""
        self.future.cancel()


@contextmanager
def _connected(address: str) -> Iterator[Client]:
    """Connects to a scheduler whose workers can compute the same, and leaves it afterwards."""
    check_address(address)
    from distributed import Client, Security

    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # errors are told here
    try:
        client = Client(address, timeout=CONNECT, security=Security(), set_as_default=False)
    except (OSError, TypeError) as error:  # TypeError: certificates are missing
        remedy = f"; {CERTIFICATES}" if address.startswith("tls") else ""
        message = f"{SCHEDULER}: no scheduler answers at {address} ({error}); start it, or unset {SCHEDULER}{remedy}"
        raise RootstockError(message, key="no-scheduler") from None
    try:
        with suppress(TimeoutError):
            client.wait_for_workers(1, timeout=WORKERS)
        if not (threads := _threads(client)):
            raise _no_workers(address)
        facts = client.run(machine, on_error="return")
        for worker, there in facts.items():
            if isinstance(there, Exception):
                raise _lacks_code(address, str(there))
            refuse_difference(machine(), there, worker)
        say(f"computing on {len(facts)} workers with {threads} threads, at {address}")
        yield client
    finally:
        client.close(timeout=CONNECT)


CERTIFICATES = (
    "set DASK_DISTRIBUTED__COMM__TLS__CA_FILE, ...__TLS__CLIENT__CERT and ...__TLS__CLIENT__KEY to the cluster's files"
)


def check_address(address: str) -> None:
    """Raises RootstockError for an address without TLS, unless it is on this machine and the user has said so.

    Whoever reaches a scheduler without TLS runs code on its workers.
    """
    if find_spec("distributed") is None:
        message = f"{SCHEDULER}: the package distributed is not installed; run make cluster"
        raise RootstockError(message, key="cluster-not-installed")
    url = urlsplit(address)
    if url.scheme not in {"tcp", "tls"} or not url.hostname:
        message = f"{SCHEDULER}: {address} is no scheduler's address, such as tls://scheduler.example:8786"
        raise RootstockError(message, key="scheduler-address")
    if url.scheme == "tcp" and not (_is_loopback(url.hostname) and os.environ.get(TLS) == "off"):
        remedy = f"; on this machine alone, {TLS}=off allows it" if _is_loopback(url.hostname) else ""
        message = (
            f"{SCHEDULER}: {address} has no TLS, so that anyone who reaches it can run code on the workers; start the "
            f"cluster with certificates and use tls://{remedy}"
        )
        raise RootstockError(message, key="scheduler-without-tls")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _no_workers(address: str) -> RootstockError:
    message = f"{SCHEDULER}: the scheduler at {address} has had no workers for {WORKERS} seconds; start some"
    return RootstockError(message, key="no-workers")


def _threads(client: Client) -> int:
    return sum(client.nthreads().values())


@contextmanager
def _plain_errors(address: str) -> Iterator[None]:
    """Converts Dask's errors to what the user can do; errors of the function itself are left as they are."""
    from distributed import KilledWorker
    from distributed.comm.core import CommClosedError

    try:
        yield
    except KilledWorker as error:
        message = f"{SCHEDULER}: workers died again and again while computing the same work ({error}); see their logs"
        raise RootstockError(message, key="process-ended") from None
    except (CancelledError, CommClosedError):
        message = f"{SCHEDULER}: the scheduler at {address} has gone; {KEPT}, when it is there, or without {SCHEDULER}"
        raise RootstockError(message, key="scheduler-gone") from None
    except (ModuleNotFoundError, AttributeError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "deserializ" not in str(error):
            raise
        raise _lacks_code(address, str(error).splitlines()[0]) from None


def _lacks_code(address: str, reason: str) -> RootstockError:
    message = (
        f"{SCHEDULER}: the scheduler or a worker at {address} lacks code ({reason}); start both in the same checkout, "
        "with its .venv and with PYTHONPATH set to it"
    )
    return RootstockError(message, key="worker-differs")
