"""A worker of `make serve`: one version in one process, which answers on a Unix socket. It knows nothing of MLflow.

python -m flows.serving.worker SOCKET, with `WorkerSettings` in the environment.
"""

from __future__ import annotations

import asyncio
import hashlib
import signal
import socket
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from flows.serving.background import prepare_behind_others
from flows.serving.heartbeat import beat
from flows.serving.messages import MAX_TEXT, Channel, Failed, Loaded, Servable
from flows.serving.settings import WorkerSettings
from tasks.core import interpreter
from tasks.core.errors import RootstockError
from tasks.core.supervision import exit_at_end_of_input
from tasks.hardware.torchvision_import import without_compiler
from tasks.serving.golden import TOLERANCE, Golden
from tasks.serving.limits import Limits
from tasks.serving.quarantine import Quarantine

if TYPE_CHECKING:
    import uvicorn

    from flows.serving.worker_app import Service
    from tasks.serving.engine import Engine

BACKLOG = 256
WARM_PASSES = 3  # of each thread: PyTorch prepares its kernels in the first


@dataclass(frozen=True)
class Prepared:
    """A version that is loaded but not proved yet."""

    servable: Servable
    engine: Engine
    quarantine: Quarantine
    settled: int


def main(address: str) -> int:
    """Loads the version that the keeper names, proves it, and serves it until the keeper ends."""
    channel, settings = Channel(), WorkerSettings.load()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it goes to all; the keeper ends this one last
    prepare_behind_others(
        lambda: _prepared(channel, settings), lambda prepared: _serve(prepared, channel, settings, address)
    )
    return 0


def _prepared(channel: Channel, settings: WorkerSettings) -> Prepared | None:
    """Loads the version that the keeper names; None if there is none, or it cannot be loaded."""
    _import_all()
    servable = channel.receive()
    if not isinstance(servable, Servable):
        return None
    quarantine = Quarantine(Path(settings.quarantine) / servable.digest, servable.slot)
    settled = len(quarantine.settle())
    exit_at_end_of_input()
    try:
        return Prepared(servable, _load(servable, settings.limits), quarantine, settled)
    except Exception as error:  # the version's own code may raise any
        channel.send(_failed(error))
        return None


def _failed(error: Exception) -> Failed:
    traceback.print_exception(error)
    is_in_words = isinstance(error, RootstockError | ValueError)
    text = str(error) if is_in_words else f"{type(error).__name__}: {error}"
    return Failed(text[:MAX_TEXT])


def _import_all() -> None:
    """Imports what a version and its service need, which takes seconds: the version may not be known yet."""
    without_compiler()

    import flows.serving.worker_app  # noqa: F401


def _load(servable: Servable, limits: Limits) -> Engine:
    from tasks.evaluation.version_scorer import VersionScorer, scorer_kind
    from tasks.serving.engine import Engine, one_thread_each

    one_thread_each()
    folder = Path(servable.folder)
    scorer = VersionScorer(folder / "spec.json", folder / "model.safetensors", servable.digest)()
    return Engine(scorer, scorer_kind(scorer), limits.max_pixels)


def _prove(engine: Engine, golden: Golden | None, pool: ThreadPoolExecutor, threads: int) -> Loaded:
    """Answers the golden picture, or an empty one, in all threads. Raises ValueError if it is not as recorded."""
    from torch import zeros

    def outputs(_number: int) -> bytes:
        if golden is None:
            return engine.of_input(zeros(1, 3, engine.side, engine.side)).logits_C.numpy().tobytes()
        return engine.of_picture(golden.picture).logits_C.numpy().tobytes()

    bits = set(pool.map(outputs, range(threads * WARM_PASSES)))
    difference = golden.difference(engine.row(engine.of_picture(golden.picture))) if golden else None
    if len(bits) > 1:
        raise ValueError("the same picture gets different outputs")
    if difference is not None and not difference <= TOLERANCE:
        raise ValueError(
            f"it answers the picture recorded at registration differently: {difference:.2g} (tolerated: {TOLERANCE:g})"
        )
    return Loaded(hashlib.sha256(bits.pop()).hexdigest(), difference)


def _listener(address: str) -> socket.socket:
    """Returns a private socket. One that uvicorn makes, every user of the machine may write to."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    Path(address).chmod(0o600)
    listener.listen(BACKLOG)
    return listener


def _serve(prepared: Prepared, channel: Channel, settings: WorkerSettings, address: str) -> None:
    """Proves a version, and serves it if it answers as recorded."""
    import uvicorn

    from flows.serving.uvicorn_options import KEEP_ALIVE_WORKER, OPTIONS
    from flows.serving.worker_app import Service, worker_app
    from tasks.serving.engine import one_thread_each

    one_thread_each()
    servable, engine = prepared.servable, prepared.engine
    pool = ThreadPoolExecutor(settings.threads, initializer=one_thread_each)
    try:
        loaded = _prove(engine, Golden.read(Path(servable.folder)), pool, settings.threads)
    except Exception as error:
        channel.send(_failed(error))
        return
    interpreter.end_of_imports()
    listener = _listener(address)
    channel.send(replace(loaded, quarantined=prepared.settled))
    service = Service(servable, engine, pool, prepared.quarantine, settings.limits)
    config = uvicorn.Config(worker_app(service), timeout_keep_alive=KEEP_ALIVE_WORKER, **OPTIONS)
    asyncio.run(_serve_for_ever(uvicorn.Server(config), service, listener))


async def _serve_for_ever(server: uvicorn.Server, service: Service, listener: socket.socket) -> None:
    alive = asyncio.create_task(beat(service.is_well))
    await server.serve(sockets=[listener])
    alive.cancel()


if __name__ == "__main__":
    interpreter.run(lambda: main(sys.argv[1]))
