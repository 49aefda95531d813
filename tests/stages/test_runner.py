"""The stage command: light to import, and all imports of a stage happen before its time is measured."""

from __future__ import annotations

import pytest

from tasks.core.errors import RootstockError
from tasks.runner.stages import run
from tests.errors import raises
from tests.project import ROOT, run_python

SCRIPT = """
import sys
import tasks.{stage}
from tasks.runner.stages import import_dependencies
print(set({modules}) & set(sys.modules))
import_dependencies(tasks.{stage})
print(set({modules}) - set(sys.modules))
"""


@pytest.mark.parametrize(
    ("stage", "modules"),
    [
        ("ingest", ["pandas", "tasks.data.ingestion"]),
        ("features", ["torch", "tasks.models.backbone"]),
        ("finetune", ["torch", "tasks.objectives.finetuning"]),
    ],
)
def test_a_stage_imports_its_dependencies_before_it_starts_and_not_earlier(stage, modules):
    done = run_python(ROOT, "-c", SCRIPT.format(stage=stage, modules=modules))
    assert done.stdout == "set()\nset()\n", done.stderr


def test_torchrun_runs_finetune_only(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "a run")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.chdir(ROOT)
    with raises(RootstockError, "torchrun-stage"):
        run("validate")


def test_imports_start_no_threads_and_no_cuda_as_a_fork_would_have_neither():
    """Even the question whether there is a GPU may initialize it."""
    script = "import threading, torch; torch._C._cuda_getDeviceCount = torch.cuda.device_count = None\n"
    script += "from flows.stages import dvc_command; from tasks.runner import stages\n"
    script += "names = [name for name in stages.STAGES if stages.import_stage(name)]\n"
    script += "list(dvc_command.imports([])); print(len(names), threading.active_count(), torch.cuda.is_initialized())"
    done = run_python(ROOT, "-c", script)
    assert done.stdout == "8 1 False\n", done.stderr
