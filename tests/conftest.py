"""Fixtures: a tiny backbone, and a separate folder for each test."""

from __future__ import annotations

import atexit
import gc
import os
import random
import sys
from pathlib import Path

from tests import session

gc.disable()  # until all is imported: what imports create stays
if session.WORKER:  # the kernel takes what was imported apart at once, Python in seconds; nobody asks for the exit code
    atexit.register(os._exit, 0)
# Set before flows is imported anywhere: no test may write to the repository's own registry.
os.environ.update(
    PREFECT_HOME=f"{session.HOME}/prefect",
    MLFLOW_TRACKING_URI=f"sqlite:///{session.HOME}/mlflow.db",
    PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW="ignore",
    ROOTSTOCK_CONFIG=f"{session.FOLDER}/config",  # one signing key for all workers, and for the projects of the tests
)
session.HOME.mkdir(exist_ok=True)
# Set before torch is imported, here or in a child process: networks are tiny, and each core has a worker.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np  # noqa: E402
import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

from flows.local import database  # noqa: E402
from tasks.core.paths import Paths  # noqa: E402
from tasks.hardware.heap import reuse_freed_memory  # noqa: E402
from tests.candidates import write_chosen, write_tiny_weights  # noqa: E402
from tests.drawn import SIDE, write_shapes  # noqa: E402
from tests.groups import check_group, group_of, pytest_xdist_make_scheduler  # noqa: E402, F401 - a hook
from tests.object_server import objects  # noqa: E402, F401 - a fixture
from tests.whole_runs import (  # noqa: E402, F401 - fixtures and a hook
    SMALL,
    TINY,
    finished,
    prefect_server,
    prepared,
    pytest_runtest_teardown,
    served,
)

reuse_freed_memory()
database.LEDGERS = session.FOLDER / "ledger"  # before it is imported elsewhere
settings.register_profile("rootstock", deadline=None)  # an example's duration depends on the machine's load
settings.load_profile("rootstock")

WHOLE = {
    "prefect_server",
    "prepared",
    "finished",
    "served",
    "loaded",
    "objects",
    "serving",
}  # start servers, or run all stages
END_TO_END = Path(__file__).parent / "end_to_end"


def pytest_configure(config: pytest.Config) -> None:
    if not session.WORKER:
        lifeline = session.begin()
        config.add_cleanup(lambda: session.end(lifeline))


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Puts groups first, and marks tests in end_to_end/ or that use these fixtures, even indirectly, as e2e."""
    items.sort(key=lambda item: group_of(item.nodeid) or "tests")
    for item in items:
        check_group(item)
        if item.path.is_relative_to(END_TO_END) or WHOLE & set(item.fixturenames):
            item.add_marker("e2e")


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    gc.unfreeze()  # extension modules would report the frozen as leaks


@pytest.fixture(autouse=True)
def _seeded():
    random.seed(0)
    np.random.seed(0)
    if torch := sys.modules.get("torch"):  # so that tests that do not need it do not wait for it
        torch.manual_seed(0)


@pytest.fixture(scope="session")
def assets() -> Path:
    """Returns the folder of real images and weights; skips tests that use it if it is not set."""
    folder = os.environ.get("ROOTSTOCK_ASSETS")
    if not folder:
        pytest.skip("ROOTSTOCK_ASSETS names no folder of real images and weights")
    return Path(folder)


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    """Returns a folder with its own splits: 6 training, 3 validation and 4 test images per class."""
    return write_shapes(tmp_path / "shapes", {"train": 6, "val": 3, "test": 4})


@pytest.fixture(scope="session")
def tiny_weights() -> Path:
    """Returns a .pth file: torchvision's smallest ShuffleNet, random weights, BatchNorm statistics of drawn images."""
    return Path(session.once("tiny_weights", lambda: str(write_tiny_weights(session.FOLDER / "tiny.pth"))))


CPU = {"device": "cpu", "precision": "float32", "batch": 16, "memory": 1.0}


@pytest.fixture
def paths(tmp_path: Path, shapes: Path, tiny_weights: Path) -> Paths:
    """Returns paths in the test's own folder, which contains the images and the weights."""
    from tasks.models.weights_file import write

    places = {
        name: tmp_path / "data" / name
        for name in (
            "candidates",
            "ingest",
            "validate",
            "choose",
            "augment",
            "features",
            "head",
            "finetune",
            "evaluate",
            "predicted",
        )
    }
    nobody = tmp_path / "data" / "teacher.weights"
    write(nobody, {})
    write_chosen(places["choose"], tiny_weights, TINY["architecture"], SIDE)
    return Paths(
        raw=shapes,
        splits=tmp_path / "data" / "splits.csv",
        teacher=nobody,
        state=tmp_path / "state",
        **places,
    )
