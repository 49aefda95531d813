"""A project with servers and a worker, which end with these tests: a worker that releases every minute takes time."""

from __future__ import annotations

import re

import pytest


@pytest.fixture(scope="package")
def served(finished, tmp_path_factory: pytest.TempPathFactory):
    """A finished project with its servers and its worker up; `addresses` by name, `env` for commands that use them."""
    project = finished.copy(tmp_path_factory.mktemp("served") / "project")
    project.more = {}
    done = project.flows("up")
    assert done.returncode == 0, done.stdout + done.stderr
    project.addresses = dict(re.findall(r"^(\w+) +(http\S+)$", done.stdout, re.MULTILINE))
    project.env = {
        "PREFECT_HOME": str(project.root / ".registry" / "prefect"),
        "PREFECT_API_URL": f"{project.addresses['prefect']}/api",
    }
    yield project
    project.flows("down")
