"""Fixtures: a tiny backbone, a folder of one's own for each test."""

from __future__ import annotations

import os
import random
import re
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

from tests import session

# Before flows is imported anywhere: no test may write into the repository's own registry.
os.environ.update(
    PREFECT_HOME=f"{session.HOME}/prefect",
    MLFLOW_TRACKING_URI=f"sqlite:///{session.HOME}/mlflow.db",
    PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW="ignore",
)
session.HOME.mkdir(exist_ok=True)
# Before torch is: of tests and of what they start; networks are tiny, and there is a worker for each core.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np  # noqa: E402
import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

from tasks.core.paths import Paths  # noqa: E402
from tests.drawn import SHAPES, SIDE, drawn, write_shapes  # noqa: E402

settings.register_profile("rootstock", deadline=None)  # how long an example takes depends on what else is running
settings.load_profile("rootstock")

WHOLE = {"prefect_server", "prepared", "finished", "served"}  # the fixtures that start servers or whole runs
ONE_WORKER = {  # what one worker builds and uses, since tests change it or since it is expensive: in which files
    "served": (
        *("tests/deploy/test_ci.py", "tests/deploy/test_schedule.py", "tests/end_to_end/test_promotion.py"),
        "tests/flows/local/test_servers.py",
    ),
    "loaded": ("tests/core/test_digest_completeness.py",),
}
GROUPS = {file: name for name, files in ONE_WORKER.items() for file in files}
END_TO_END = Path(__file__).parent / "end_to_end"


def pytest_configure(config: pytest.Config) -> None:
    if not session.WORKER:
        lifeline = session.begin()
        config.add_cleanup(lambda: session.end(lifeline))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object):
    """Each test goes to whichever worker is free, but all tests of a group to one; the groups come first.

    Marks would say so too, but the ids of pytest 9.2 carry no group, and xdist 3.8 then ignores them silently.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return GROUPS.get(nodeid.partition("::")[0], nodeid)

    return Groups(config, log)


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Marks as e2e each test that lies in end_to_end/ or uses one of these fixtures, be it through another one.

    Raises UsageError if a test uses what one worker has, but lies in another file than those that go there.
    """
    for item in items:
        if item.path.is_relative_to(END_TO_END) or WHOLE & set(item.fixturenames):
            item.add_marker("e2e")
        for name in ONE_WORKER.keys() & set(item.fixturenames):
            if GROUPS.get(item.nodeid.partition("::")[0]) != name:
                raise pytest.UsageError(f"{item.nodeid} uses {name}: add its file to ONE_WORKER in tests/conftest.py")


@pytest.fixture(autouse=True)
def _seeded():
    random.seed(0)
    np.random.seed(0)
    if torch := sys.modules.get("torch"):  # a test that does not need it need not wait for it
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
def tiny_weights() -> Path:
    """Random weights of torchvision's smallest ShuffleNet, with BatchNorm used to drawn pictures, as a .pth file."""
    return Path(session.once("tiny_weights", write_tiny_weights))


def write_tiny_weights() -> str:
    import torch
    from torchvision.models import shufflenet_v2_x0_5

    torch.manual_seed(0)
    network = shufflenet_v2_x0_5()
    pictures = [np.asarray(drawn(shape, seed)) for shape in SHAPES for seed in range(500, 540)]
    x = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.inference_mode():
        for _ in range(30):
            network(x)
    file = session.FOLDER / "tiny.pth"
    torch.save(network.state_dict(), file)
    return str(file)


TINY = {"architecture": "shufflenet_v2_x0_5", "resize": SIDE, "crop": SIDE}
CPU = {"device": "cpu", "precision": "float32", "batch": 16, "memory": 1.0}


@pytest.fixture
def paths(tmp_path: Path, shapes: Path, tiny_weights: Path) -> Paths:
    """Paths in a folder of the test's own; the images and the weights are there."""
    from tasks.models.weights_file import write

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
def prefect_server() -> str:
    """The address of a real Prefect server for all tests that run flows."""
    return session.once("prefect_server", start_prefect_server)


def start_prefect_server() -> str:
    from tests.project import ROOT, environment, wait_until

    home = session.FOLDER / "prefect_server"
    home.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "flows.local.temporary_server", str(port)]
    with (home / "server.log").open("w") as log, session.LIFELINE.open() as lifeline:
        server = subprocess.Popen(
            command, cwd=ROOT, env=environment(PREFECT_HOME=str(home)), stdin=lifeline, stdout=log, stderr=log
        )
    (session.FOLDER / "prefect_server.pid").write_text(str(server.pid))

    def healthy() -> bool:
        try:
            return urlopen(f"http://127.0.0.1:{port}/api/health", timeout=5).status == 200
        except OSError:
            return False

    wait_until(healthy)
    return f"http://127.0.0.1:{port}/api"


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


@contextmanager
def unchanged(project):
    """All workers share the project: who wants to change it, or to run something in it, copies it."""
    before = session.listing(project.root)
    yield project
    after = session.listing(project.root)
    assert {path for path, _ in before.items() ^ after.items()} == set(), f"a test changed {project.root}"


@pytest.fixture(scope="session")
def prepared(prefect_server: str, tiny_weights: Path):
    """A project on drawn shapes with a tiny backbone, committed, nothing computed yet. Not to be changed: copy it."""
    from flows.config.overrides import apply
    from tests.project import Project

    root = session.FOLDER / "prepared"

    def prepare() -> str:
        project = Project.fresh(root, prefect_server)
        source = write_shapes(session.FOLDER / "shapes", {"train": 6, "val": 3, "test": 4})
        small = {**SMALL, "backbone.weights": tiny_weights, "data.source": source}
        apply([part for name, value in small.items() for part in (f"--{name}", str(value))], root / "params.yaml")
        project.commit()
        return ""

    session.once("prepared", prepare)
    with unchanged(Project(root, prefect_server)) as project:
        yield project


@pytest.fixture(scope="session")
def finished(prepared):
    """The same after one whole retraining; `first` is what it printed. Not to be changed: copy it."""
    from tests.project import Project

    root = session.FOLDER / "finished"

    def finish() -> str:
        shutil.rmtree(root, ignore_errors=True)  # what another worker's try left, which failed
        done = prepared.copy(root).retrain()
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    first = session.once("finished", finish)
    with unchanged(Project(root, prepared.more["PREFECT_API_URL"])) as project:
        project.first = first
        yield project


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
