"""A checkout with released versions, and its server, for the tests of one worker."""

from __future__ import annotations

import pytest

from tests.flows.serving.running import Releases, Server, checkout

VERSIONS = 3  # the last one's code may end its process


@pytest.fixture(scope="session")
def registry(tmp_path_factory):
    """Returns a checkout and the process that releases its versions."""
    root = checkout(tmp_path_factory.mktemp("serving") / "checkout")
    releases = Releases(root, VERSIONS)
    yield root, releases
    releases.close()


@pytest.fixture(scope="session")
def serving(registry):
    """Returns a server, at first without a live version, and the process that releases versions."""
    server = Server(registry[0])
    yield server, registry[1]
    server.close()
