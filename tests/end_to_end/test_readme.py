"""The README tells the truth: its commands, parameters and files are there."""

from __future__ import annotations

import re

import pytest
from ruamel.yaml import YAML

from tests.project import ROOT

TEXT = {
    name: (ROOT / name).read_text()
    for name in ("README.md", "CONTRIBUTING.md", "data/README.md", "tests/benchmarks/README.md")
}
ALL = "\n".join(TEXT.values())


def test_every_make_target_it_names_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z]+)", ALL, re.MULTILINE))
    assert {"run", "test", "up", "bench"} <= named <= targets


def test_every_parameter_it_names_exists():
    document = YAML(typ="safe").load(ROOT / "params.yaml")
    named = re.findall(r"--([a-z]+\.[a-z_]+)", ALL)
    assert named
    assert [name for name in named if name.split(".")[1] not in document[name.split(".")[0]]] == []


@pytest.mark.parametrize("name", TEXT)
def test_every_file_it_links_to_exists(name):
    links = re.findall(r"\]\((?!http)([^)#]+)", TEXT[name])
    assert [link for link in links if not ((ROOT / name).parent / link).exists()] == []


def test_nothing_is_left_to_fill_in():
    assert "@@" not in ALL
    assert not re.search(r"\b(TODO|FIXME)\b", ALL)
