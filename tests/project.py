"""A copy of the repository in a separate folder, in which the real commands are run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from tasks.core.files import read_json
from tests import session

ROOT = Path(__file__).parents[1]
SOCKETS = ("dvc-server", "stage-server")  # of killed flows; they cannot be copied
# A copy stores its databases in its own registry; what `make test ARGS=...` exports is not for a make within a test.
REMOVED = ("PREFECT_", "MLFLOW_", "MAKE", "MFLAGS", "ARGS")


def environment(**more: str) -> dict[str, str]:
    binaries = str(Path(sys.executable).parent)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(REMOVED)}
    return {**kept, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1", **more}


def run_python(root: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=root,
        env=environment(**more),
        capture_output=True,
        text=True,
        check=False,
        timeout=540,
    )


class Project:
    """A checkout in which commands run as a user would run them; `api` is the URL of their Prefect server."""

    def __init__(self, root: Path, api: str | None = None) -> None:
        self.root = root
        self.more = {"PREFECT_API_URL": api, "PREFECT_API_AUTH_STRING": session.auth_string()} if api else {}
        self.env: dict[str, str] = {}
        self.addresses: dict[str, str] = {}

    @classmethod
    def fresh(cls, root: Path, api: str | None) -> Project:
        """Creates a project from the files that git tracks or would track, committed in a new repository."""
        listed = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        for name in listed.stdout.splitlines():
            if (
                (ROOT / name).is_file()
                and not name.startswith("tests/")
                and name != "dvc.lock"
                and not name.endswith(".dvc")
            ):
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, root / name)
        project = cls(root, api)
        project.git("init", "--quiet")
        project.commit()
        return project

    def copy(self, root: Path) -> Project:
        """Copies the project, including all computed results, to another folder."""
        shutil.copytree(self.root, root, symlinks=True, ignore=shutil.ignore_patterns("servers.json", *SOCKETS))
        return Project(root, self.more.get("PREFECT_API_URL"))

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=tester", "-c", "user.email=tester@localhost"]
        return subprocess.run(
            ["git", *identity, *arguments], cwd=self.root, capture_output=True, text=True, check=True
        ).stdout

    def commit(self) -> None:
        self.git("add", "--all", "--", ".", ":!dvc.lock", ":!data/*.dvc")
        self.git("commit", "--quiet", "--allow-empty", "-m", "a state")

    def retrain(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.flows("retrain", *arguments)

    def flows(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run_python(self.root, "-m", "flows", *arguments, **self.more)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts the retrain flow in the background."""
        log = (self.root / "started.log").open("w")
        command = [sys.executable, "-m", "flows", "retrain", *arguments]
        return subprocess.Popen(command, cwd=self.root, env=environment(**self.more), stdout=log, stderr=log, text=True)

    def prefect(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run_python(self.root, "-m", "prefect", "--no-prompt", *arguments, **self.env)

    def with_venv(self) -> Project:
        """Links .venv and marks it as up to date for make."""
        (self.root / ".venv").symlink_to(Path(sys.executable).parents[1])
        os.utime(self.root / "requirements.txt", (0, 0))
        return self

    def script(self, name: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Runs a CI script as its job would."""
        return subprocess.run(
            [str(self.root / "deploy" / "ci" / name)],
            cwd=self.root,
            env=environment(**self.more, **more),
            capture_output=True,
            text=True,
            check=False,
            timeout=540,
        )

    def dvc(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run_python(self.root, "-m", "dvc", *arguments)

    def reports(self) -> dict[str, str]:
        """Returns the ID of the run that last computed each stage, and the report's mtime, by stage."""
        files = (self.root / ".state" / "reports").glob("*.json")
        return {file.stem: f"{read_json(file)['run']} {file.stat().st_mtime_ns}" for file in files}

    def mlflow(self) -> object:
        from mlflow import MlflowClient

        uri = f"sqlite:///{self.root / '.registry' / 'mlflow.db'}"
        return MlflowClient(uri, uri)

    def runs(self) -> list[object]:
        client = self.mlflow()
        return list(client.search_runs([e.experiment_id for e in client.search_experiments()]))

    def versions(self) -> list[object]:
        return list(self.mlflow().search_model_versions("name = 'rootstock'"))

    def numbers(self) -> list[int]:
        """Returns the numbers of the registered versions, which MLflow returns as strings or as integers."""
        return sorted(int(version.version) for version in self.versions())

    def fork(self, name: str) -> psutil.Process | None:
        """Returns the fork that runs a stage or a command of DVC, such as dvc repro, in this project, if any."""
        for process in psutil.process_iter(["name"]):
            try:
                if process.info["name"] == name and process.cwd() == str(self.root):
                    return process
            except psutil.Error:
                continue
        return None


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(true: Callable[[], object], seconds: float = 90) -> object:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := true():
            return result
        time.sleep(0.05)
    raise AssertionError(f"not so within {seconds} seconds")
