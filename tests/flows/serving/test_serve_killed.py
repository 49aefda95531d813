"""The server's own end, by force; it runs last of the tests that share the server."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.flows.serving.running import Server, until


def test_when_the_keeper_is_killed_its_processes_end_and_the_next_one_tidies_up(serving, registry):
    server, _ = serving
    children, sockets = server.children(), Path(server.status()["sockets"])
    assert {"front", "worker"} <= {child.cmdline()[2].rpartition(".")[2] for child in children}
    server.close(signal.SIGKILL)
    until(lambda: not any(child.is_running() for child in children))
    assert sockets.exists()
    again = Server(registry[0])
    again.wait_for("3")
    assert not sockets.exists()
    again.close()
    assert not list((registry[0] / ".state" / "serve" / "versions").glob("*"))
