"""Fixtures: a tiny backbone, a folder of one's own for each test."""

from __future__ import annotations

import os
import random
import re
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.request import urlopen

# Before flows is imported anywhere: no test may write into the repository's own registry.
_HOME = tempfile.mkdtemp(prefix="rootstock-tests-")
os.environ.update(
    PREFECT_HOME=f"{_HOME}/prefect",
    MLFLOW_TRACKING_URI=f"sqlite:///{_HOME}/mlflow.db",
    PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW="ignore",
)

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import settings  # noqa: E402

from tasks.core.paths import Paths  # noqa: E402
from tasks.models.weights_file import write  # noqa: E402
from tests.drawn import SHAPES, SIDE, drawn, write_shapes  # noqa: E402

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of what tests start: tiny networks, and servers want the other cores

settings.register_profile("rootstock", deadline=None)  # how long an example takes depends on what else is running
settings.load_profile("rootstock")

WHOLE = {"prefect_server", "prepared", "finished", "served"}  # the fixtures that start servers or whole runs
END_TO_END = Path(__file__).parent / "end_to_end"


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Marks as e2e each test that lies in end_to_end/ or uses one of these fixtures, be it through another one."""
    for item in items:
        if item.path.is_relative_to(END_TO_END) or WHOLE & set(item.fixturenames):
            item.add_marker("e2e")


@pytest.fixture(autouse=True)
def _seeded():
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of real images and weights; its tests are skipped where there is none."""
    folder = os.environ.get("ROOTSTOCK_ASSETS")
    if not folder:
        pytest.skip("ROOTSTOCK_ASSETS names no folder of real images and weights")
    return Path(folder)


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    """A folder with splits of its own: 6 training, 3 validation and 4 test images a class."""
    return write_shapes(tmp_path / "shapes", {"train": 6, "val": 3, "test": 4})


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of torchvision's smallest ShuffleNet, with BatchNorm used to drawn pictures, as a .pth file."""
    from torchvision.models import shufflenet_v2_x0_5

    torch.manual_seed(0)
    network = shufflenet_v2_x0_5()
    pictures = [np.asarray(drawn(shape, seed)) for shape in SHAPES for seed in range(500, 540)]
    x = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.inference_mode():
        for _ in range(30):
            network(x)
    file = tmp_path_factory.mktemp("weights") / "tiny.pth"
    torch.save(network.state_dict(), file)
    return file


TINY = {"architecture": "shufflenet_v2_x0_5", "resize": SIDE, "crop": SIDE}
CPU = {"device": "cpu", "precision": "float32", "batch": 16, "memory": 1.0}


@pytest.fixture
def paths(tmp_path: Path, shapes: Path, tiny_weights: Path) -> Paths:
    """Paths in a folder of the test's own; the images and the weights are there."""
    places = {
        name: tmp_path / "data" / name
        for name in ("ingest", "validate", "augment", "features", "head", "finetune", "evaluate", "predicted")
    }
    nobody = tmp_path / "data" / "teacher.weights"
    write(nobody, {})
    return Paths(
        raw=shapes,
        pretrained=tiny_weights,
        teacher=nobody,
        state=tmp_path / "state",
        **places,
    )


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory):
    """The address of a real Prefect server for all tests that run flows."""
    from tests.project import ROOT, environment, wait_until

    home = tmp_path_factory.mktemp("prefect")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "flows.local.temporary_server", str(port)]
    with (home / "server.log").open("w") as log:
        server = subprocess.Popen(
            command, cwd=ROOT, env=environment(PREFECT_HOME=str(home)), stdin=subprocess.PIPE, stdout=log, stderr=log
        )

    def healthy() -> bool:
        try:
            return urlopen(f"http://127.0.0.1:{port}/api/health", timeout=5).status == 200
        except OSError:
            return False

    wait_until(healthy)
    yield f"http://127.0.0.1:{port}/api"
    server.terminate()
    server.wait(30)


SMALL = {
    "backbone.architecture": TINY["architecture"],
    "backbone.resize": SIDE,
    "backbone.crop": SIDE,
    "compute.precision": "float32",
    "compute.batch": 16,
    "augment.views": 3,
    "finetune.epochs": 3,
    "finetune.batch": 8,
    "evaluate.resamples": 100,
    "evaluate.corrupted": 6,
    "run.retries": 0,
    "gate.floors.accuracy": 0.1,
}


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, prefect_server: str, tiny_weights: Path):
    """A project on drawn shapes with a tiny backbone, committed, nothing computed yet."""
    from flows.config.overrides import apply
    from tests.project import Project

    root = tmp_path_factory.mktemp("projects") / "prepared"
    project = Project.fresh(root, prefect_server)
    source = write_shapes(root.parent / "shapes", {"train": 6, "val": 3, "test": 4})
    small = {**SMALL, "backbone.weights": tiny_weights, "data.source": source}
    apply([part for name, value in small.items() for part in (f"--{name}", str(value))], root / "params.yaml")
    project.commit()
    return project


@pytest.fixture(scope="session")
def finished(prepared, tmp_path_factory: pytest.TempPathFactory):
    """The same after one whole retraining. Not to be changed: copy it."""
    project = prepared.copy(prepared.root.parent / "finished")
    done = project.retrain()
    assert done.returncode == 0, done.stdout + done.stderr
    project.first = done.stdout
    return project


@pytest.fixture(scope="session")
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
