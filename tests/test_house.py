"""Imports go one way, and heavy or foreign packages stay where they belong."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = ROOT / "tasks" / "parts"
COMPUTE = {"backbone", "heads", "fit", "fit_state", "transforms", "metrics", "scorer", "device", "memory", "freezing"}
COMPUTE |= {"prefix", "balance", "grafting", "processes"}
BARE = {"torch", "torchvision", "numpy", "PIL"}  # and the standard library; Pillow comes with torchvision


def imported(file: Path) -> set[str]:
    """The full names of all modules that a file imports, in functions too."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def top(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("file", sorted((ROOT / "tasks").rglob("*.py")), ids=lambda file: file.stem)
def test_tasks_know_nothing_of_flows_and_trackers(file):
    assert not top(imported(file)) & {"flows", "deploy", "prefect", "mlflow", "dvc"}


@pytest.mark.parametrize("file", sorted(PARTS.rglob("*.py")), ids=lambda file: file.stem)
def test_parts_know_nothing_of_stages(file):
    from tasks import STAGES

    assert not imported(file) & {f"tasks.{stage}" for stage in STAGES}


@pytest.mark.parametrize("file", sorted((ROOT / "tasks").glob("*.py")), ids=lambda file: file.stem)
def test_stages_never_import_one_another(file):
    from tasks import STAGES

    assert not imported(file) & {f"tasks.{stage}" for stage in STAGES}


def test_great_expectations_is_used_in_one_part_only():
    users = {file.stem for file in PARTS.rglob("*.py") if "great_expectations" in top(imported(file))}
    assert users == {"expectations"}


@pytest.mark.parametrize("name", sorted(COMPUTE))
def test_what_computes_runs_on_a_bare_gpu_machine(name):
    """torch, torchvision, numpy, the standard library, and parts of the same kind."""
    import sys

    allowed = BARE | set(sys.stdlib_module_names) | {"tasks"}
    found = imported(PARTS / f"{name}.py")
    assert top(found) - allowed - {"safetensors"} == set()
    ours = {module.removeprefix("tasks.parts.") for module in found if module.startswith("tasks.parts.")}
    assert {module.partition(".")[0] for module in ours} <= COMPUTE | {"errors", "names", "objectives", "progress"}


def test_only_scorer_imports_nothing_of_the_project():
    """It is shipped with every model version."""
    assert "tasks" not in top(imported(PARTS / "scorer.py"))
    assert not top(imported(ROOT / "flows" / "model_code.py")) & {"tasks", "flows"}


def test_only_versioning_calls_dvc():
    callers = [file.name for file in (ROOT / "flows").glob("*.py") if '["dvc"' in file.read_text()]
    assert callers == ["versioning.py"]
