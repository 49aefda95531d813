"""README, CONTRIBUTING and docs/ are accurate: their commands, parameters, files and links exist."""

from __future__ import annotations

import ast
import re
import shutil

import pytest
from ruamel.yaml import YAML

from flows.config.overrides import apply
from flows.config.parameters import check
from tasks.core.params import read_document
from tests.documents import PAGES, RUN, RUN_ELSEWHERE, anchors, blocks, commands, overrides, prose
from tests.project import ROOT
from tests.test_house import RANKS

ALL = "\n".join(PAGES.values())
PARAMS = YAML(typ="safe").load(ROOT / "params.yaml")
FILES = (".yaml", ".md", ".py", ".json", ".html", ".csv", ".parquet", ".toml", ".txt", ".dvc")
OTHERS = ("tasks.", "flows.", "rootstock.", "torch.", "mlflow.", "os.", "dvc.", "pretrained.")  # modules, tags, files
WITH_OVERRIDES = [command for command in commands() if overrides(command)]
YAML_BLOCKS, PYTHON_BLOCKS = ([block for block in blocks() if block.language == kind] for kind in ("yaml", "python"))


def test_there_are_pages_and_commands():
    assert len(PAGES) > 20
    assert len(commands()) > 20
    assert len(WITH_OVERRIDES) > 10


def test_the_readme_is_short():
    assert len(PAGES["README.md"].splitlines()) <= 200


def test_every_block_has_a_language():
    assert {block.language for block in blocks()} == {"sh", "text", "yaml", "python"}
    assert not [block for block in blocks() if block.not_run and block.language not in {"sh", "python"}]


def test_every_command_is_run_or_marked():
    checked = {*RUN, *RUN_ELSEWHERE, *WITH_OVERRIDES}
    assert [command for command in commands() if command not in checked] == []
    assert [command for command in checked if command not in commands()] == [], "no page has it any more"


@pytest.mark.parametrize("command", RUN_ELSEWHERE)
def test_commands_that_are_run_elsewhere_are_in_the_named_file(command):
    file, text = RUN_ELSEWHERE[command]
    assert text in (ROOT / file).read_text(encoding="utf-8")


@pytest.mark.parametrize("command", WITH_OVERRIDES)
def test_overrides_are_accepted(command, tmp_path):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    assert apply(overrides(command), tmp_path / "params.yaml"), "nothing changed"


@pytest.mark.parametrize("block", YAML_BLOCKS, ids=lambda block: block.page)
def test_yaml_fits_into_params_yaml(block):
    document = read_document(ROOT / "params.yaml")
    merge(document, YAML(typ="safe").load(block.text))
    check(document)


def merge(document, values):
    for key, value in values.items():
        if isinstance(value, dict) and key in document:
            merge(document[key], value)
        else:
            document[key] = value


@pytest.mark.parametrize("block", PYTHON_BLOCKS, ids=lambda block: block.page)
def test_python_is_python(block):
    assert ast.parse(block.text).body


def test_named_overrides_of_a_comparison_are_parameters():
    named = re.findall(r"([a-z]+\.[a-z_]+): ", "\n".join(block.text for block in YAML_BLOCKS))
    assert named
    assert [name for name in named if not is_parameter(name)] == []


def test_every_make_target_exists():
    rules = re.findall(r"^([a-z0-9 ]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    targets = {target for rule in rules for target in rule.split()}
    named = set(re.findall(r"(?:`|^)make\s([a-z0-9]+)", ALL, re.MULTILINE))
    assert {"run", "test", "up", "bench"} <= named <= targets


def test_every_benchmark_exists():
    named = set(re.findall(r"make\sbench\sARGS=(\w+)", ALL)) - {"name"}
    assert len(named) > 10
    assert [name for name in named if not (ROOT / "tests" / "benchmarks" / f"{name}.py").exists()] == []


def is_parameter(name: str) -> bool:
    node = PARAMS
    for key in name.split("."):
        if not isinstance(node, dict) or key not in node:
            return False
        node = node[key]
    return True


def test_every_parameter_exists():
    quoted = re.findall(r"`(?:--)?([a-z]+(?:\.[a-z_]+)+)(?=[`: ])", prose(ALL))
    named = {name for name in quoted if not name.startswith(OTHERS) and not name.endswith(FILES)}
    named |= set(re.findall(r"--([a-z]+\.[a-z_]+)", ALL))
    named -= {"section.key"}  # a placeholder for any
    assert len(named) > 80
    assert [name for name in sorted(named) if not is_parameter(name)] == []


def test_every_path_exists():
    named = set(re.findall(r"`((?:tasks|flows|deploy|tests|docs)/[\w/.]*)`", ALL))
    assert len(named) > 20
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name):
    here = (ROOT / name).parent
    links = re.findall(r"\]\((?!http)([^)#\s]*)(?:#([^)\s]+))?\)", prose(PAGES[name]))
    files = [(here / file if file else ROOT / name, anchor) for file, anchor in links]
    assert [str(file) for file, _ in files if not file.exists()] == []
    assert [f"{file}#{anchor}" for file, anchor in files if anchor and anchor not in anchors(file)] == []


def test_every_page_of_docs_is_linked():
    linked = {
        ((ROOT / name).parent / link).resolve() for name in PAGES for link in re.findall(r"\]\(([^)#\s]+)", PAGES[name])
    }
    pages = [ROOT / name for name in PAGES if name.startswith("docs/")]
    assert pages
    assert [page for page in pages if page not in linked] == []


def test_every_plot_is_shown():
    shown = re.findall(r"data/pictures/(\w+)\.png", ALL)
    assert {file.stem for file in (ROOT / "data" / "pictures").iterdir()} == set(shown)
    assert len(re.findall(r"!\[", PAGES["README.md"])) <= 3


def test_the_documented_order_of_packages_is_the_checked_one():
    assert "\n".join(", ".join(row) for row in RANKS) in PAGES["docs/extending.md"]


def test_nothing_is_left_to_fill_in():
    assert "@@" not in ALL
    assert not re.search(r"\b(TODO|FIXME)\b", ALL)
