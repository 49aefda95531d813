"""Imports go one way, and heavy or third-party packages are confined to the modules that need them."""

from __future__ import annotations

import ast
import re
import sys
from functools import cache
from pathlib import Path

import pytest

from tasks.core.digest import closure, imports_at_run_time
from tasks.core.target import TargetKind
from tests.project import run_python

ROOT = Path(__file__).parents[1]
RANKS = (  # each package imports only itself and packages in rows above its own
    ("tasks.core", "tasks.scorer"),
    ("tasks.hardware", "tasks.data", "tasks.images", "tasks.metrics"),
    ("tasks.models", "tasks.reports", "tasks.gate"),
    ("tasks.embedding", "tasks.training"),
    ("tasks.heads",),
    ("tasks.objectives", "tasks.embedded", "tasks.selection"),
    ("tasks.evaluation",),
    ("tasks.serving",),
    ("tasks.runner",),
    ("tasks",),  # the stages
    ("flows.local",),
    ("flows.config",),
    ("flows.stages",),
    ("flows.registry",),
    ("flows.serving",),
    ("flows.sources",),
    ("flows.estimates",),
    ("flows.retention",),
    ("flows.comparison",),
    ("flows",),
    ("deploy",),
)
RANK = {package: rank for rank, row in enumerate(RANKS) for package in row}
BARE = {"torch", "torchvision", "numpy", "PIL", "safetensors"}  # Pillow comes with torchvision
COMPUTE = ("tasks.scorer", "tasks.hardware", "tasks.models", "tasks.training", "tasks.metrics")
MORE = {  # additional packages that individual modules need
    "tasks.hardware.machine_cache": {"platformdirs"},
    "tasks.metrics.f1": {"scipy"},  # in functions, as in the next three; installed with MLflow
    "tasks.metrics.intervals": {"scipy"},
    "tasks.metrics.selective": {"scipy"},
    "tasks.metrics.average_precision": {"sklearn"},
}


def python_files(*folders: str, pattern: str = "**/*.py") -> list[Path]:
    files = sorted(file for folder in folders for file in (ROOT / folder).glob(pattern))
    assert files, f"nothing in {folders}"
    return files


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def package_of(module: str) -> str:
    """Returns the package in RANK that contains a module."""
    first_two = ".".join(module.split(".")[:2])
    return first_two if first_two in RANK else module.split(".", maxsplit=1)[0]


@cache
def imported(file: Path) -> frozenset[str]:
    """Returns the full names of all modules and members that a file imports, including those in functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= names_from(node, file)
    return frozenset(names)


def names_from(node: ast.ImportFrom, file: Path) -> set[str]:
    """Returns the full names of the module that an import, absolute or relative, is from, and of its members."""
    package = name_of(file).split(".")[: -node.level] if node.level else []
    module = ".".join([*package, *filter(None, [node.module])])
    return {module, *(f"{module}.{alias.name}" for alias in node.names)}


def modules_of_ours(file: Path) -> set[str]:
    """Returns the names that are modules of the project."""
    return {name for name in imported(file) if (ROOT / (name.replace(".", "/") + ".py")).exists()}


def top(names: frozenset[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


FILES = python_files("tasks", "flows", "deploy")


def arrows_against_the_order() -> set[tuple[str, str]]:
    arrows = {(name_of(file), module) for file in FILES for module in modules_of_ours(file)}
    rooms = {(arrow, package_of(arrow[0]), package_of(arrow[1])) for arrow in arrows}
    assert len({room for _, *both in rooms for room in both}) == len(RANK), "each row of the table has files"
    return {arrow for arrow, source, target in rooms if source != target and RANK[target] >= RANK[source]}


def test_imports_go_one_way():
    assert arrows_against_the_order() == set()


def test_package_inits_are_empty():
    """Import closures omit them. The one in flows sets the environment before Prefect and MLflow are imported."""
    inits = [file for file in FILES if file.name == "__init__.py" and name_of(file) not in {"flows", "deploy"}]
    assert len(inits) > 20
    assert [name_of(file) for file in inits if file.read_bytes()] == []


@pytest.mark.parametrize("file", python_files("tasks"), ids=name_of)
def test_tasks_know_nothing_of_flows_and_trackers(file):
    assert not top(imported(file)) & {"flows", "deploy", "prefect", "mlflow", "dvc"}


@pytest.mark.parametrize("file", python_files("tasks", pattern="*.py"), ids=name_of)
def test_stages_never_import_one_another(file):
    from tasks.core.schema import STAGES

    assert not imported(file) & {f"tasks.{stage}" for stage in STAGES}


def test_great_expectations_is_used_in_one_module_only():
    users = {name_of(file) for file in FILES if "great_expectations" in top(imported(file))}
    assert users == {"tasks.data.expectations", "tasks.validate"}, "the stage imports it early, to time itself without"


@pytest.mark.parametrize("package", COMPUTE)
def test_what_computes_runs_on_a_bare_gpu_machine(package):
    """Including its imports, it needs torch, torchvision, numpy, Pillow and safetensors, but not even pandas."""
    modules = [file for file in python_files(package.replace(".", "/")) if file.name != "__init__.py"]
    files = closure(*map(name_of, modules))
    packages = {name_of(file): third_party(file) for file in files}
    assert {name: more for name, more in packages.items() if more - MORE.get(name, set())} == {}


def third_party(file: Path) -> set[str]:
    """Returns the third-party packages that a file imports at run time, without imports used only for types."""
    return top(frozenset(imports_at_run_time(file))) - BARE - set(sys.stdlib_module_names) - {"tasks"}


@pytest.mark.parametrize("file", python_files("tasks/scorer"), ids=name_of)
def test_the_scorer_imports_nothing_of_the_project_but_itself(file):
    """It is shipped with every model version. Imports are relative and at the top, so all code is loaded at once."""
    tree = ast.parse(file.read_text())
    relative = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level]
    assert {node.level for node in relative} <= {1}
    assert set(relative) <= set(tree.body)
    ours = {name for name in imported(file) if name.split(".")[0] in {"tasks", "flows", "deploy"}}
    assert ours == {name for node in relative for name in names_from(node, file)}


def test_the_code_that_mlflow_loads_imports_nothing_of_the_project():
    code = imported(ROOT / "flows" / "registry" / "model_code.py")
    assert top(code) - set(sys.stdlib_module_names) - {"__future__"} == {"mlflow", "pandas"}


def test_images_are_decoded_and_tables_are_read_without_torch():
    modules = "tasks.data.file_facts, tasks.data.image_files, tasks.data.tables.copying, tasks.data.facts_cache"
    heavy = run_python(ROOT, "-c", f"import sys, {modules}; print('torch' in sys.modules)")
    assert heavy.stdout == "False\n", heavy.stderr


def test_only_dvc_cli_calls_dvc():
    callers = [name_of(file) for file in python_files("flows") if re.search(r'\["dvc"|\*DVC\b', file.read_text())]
    assert callers == ["flows.stages.dvc_cli"]


KINDS = {kind.name for kind in TargetKind}
MIN_TABLES = 20  # fewer would mean that the search is broken
BY_KIND = ("tasks.evaluate", "tasks.evaluation.", "tasks.gate.", "flows.registry.", "flows.predict", "flows.retrain")
DECISIVE = {"several", "targets", "label_thresholds"}  # fields from which a kind could be guessed


def syntax(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def kinds_in(node: ast.AST) -> set[str]:
    """Returns the members of TargetKind named in a syntax tree."""
    parts = [part for part in ast.walk(node) if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name)]
    return {part.attr for part in parts if part.value.id == "TargetKind"}


def test_every_table_by_kind_has_every_kind():
    tables = {
        (name_of(file), node.lineno): set().union(*(kinds_in(key) for key in node.keys if key))
        for file in FILES
        for node in ast.walk(syntax(file))
        if isinstance(node, ast.Dict)
    }
    by_kind = {place: kinds for place, kinds in tables.items() if kinds}
    assert {name for name, _ in by_kind} >= {"tasks.core.target", "tasks.evaluation.kinds", "tasks.training.kinds"}
    assert len(by_kind) >= MIN_TABLES
    assert {place: kinds for place, kinds in by_kind.items() if kinds != KINDS} == {}


def test_a_kind_is_looked_up_and_never_compared():
    comparisons = (ast.Compare, ast.match_case)
    nodes = [
        (name_of(file), node) for file in FILES for node in ast.walk(syntax(file)) if isinstance(node, comparisons)
    ]
    assert len(nodes) > 100
    assert [(name, node.lineno) for name, node in nodes if kinds_in(node)] == []


def decisions(tree: ast.Module) -> list[ast.expr]:
    """Returns tested expressions: conditions, operands of `and`, `or` and `not`, and arguments of bool and len."""
    asked: list[ast.expr] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.If | ast.IfExp | ast.While):
            asked.append(node.test)
        elif isinstance(node, ast.BoolOp):
            asked += node.values
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            asked.append(node.operand)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"bool", "len"}:
            asked += node.args
    return asked


def field_of(node: ast.expr) -> object:
    """Returns the attribute or key that an expression looks up."""
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        return node.slice.value
    return node.attr if isinstance(node, ast.Attribute) else None


def test_what_is_predicted_is_not_guessed_from_fields():
    """One function, `kind_of`, derives a version's kind from its spec; everything else looks it up."""
    files = [file for file in FILES if f"{name_of(file)}.".startswith(BY_KIND)]
    asked = [(name_of(file), node) for file in files for node in decisions(syntax(file))]
    assert len(asked) > 100
    assert [(name, node.lineno) for name, node in asked if field_of(node) in DECISIVE] == []
