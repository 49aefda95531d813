"""The commands in README and docs/, run in a finished project."""

from __future__ import annotations

import shutil
import subprocess
import sys

from tests.documents import RUN, blocks
from tests.project import environment


def test_commands_do_what_the_pages_say(finished, tmp_path):
    project = finished.copy(tmp_path / "project").with_venv()
    pictures = sorted((project.root / "data" / "raw" / "test").rglob("*.png"))
    shutil.copy(pictures[0], project.root / "picture.jpg")
    shutil.copytree(pictures[0].parent, tmp_path / "folder")
    uri = f"sqlite:///{project.root / '.registry' / 'mlflow.db'}"
    project.mlflow().set_registered_model_alias("rootstock", "champion", "1")
    for command, (code, text) in RUN.items():
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=project.root,
            env=environment(**project.more),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert (done.returncode, text in done.stdout + done.stderr) == (code, True), done.stdout + done.stderr
    for block in blocks():
        if block.language == "python" and not block.not_run:
            done = subprocess.run(
                [sys.executable, "-c", block.text],
                cwd=project.root,
                env=environment(MLFLOW_TRACKING_URI=uri),
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
            )
            assert "distribution" in done.stdout, done.stdout + done.stderr
