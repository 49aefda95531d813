from __future__ import annotations

import pytest

from flows.config.overrides import apply
from tasks.core.errors import ParamsError
from tasks.core.params import read_document
from tests.errors import raises
from tests.project import ROOT


@pytest.fixture
def file(tmp_path):
    copy = tmp_path / "params.yaml"
    copy.write_text((ROOT / "params.yaml").read_text())
    return copy


def test_one_value_changes_one_line_and_the_comments_stay(file):
    before = file.read_text().splitlines()
    difference = apply(["--finetune.blocks", "1"], file)
    after = file.read_text().splitlines()
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert changed == [(next(line for line in before if line.strip().startswith("blocks:")), changed[0][1])]
    assert changed[0][1].strip().startswith("blocks: 1 ")
    assert "#" in changed[0][1]
    assert difference.splitlines()[-1] == f"+{changed[0][1]}"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("data.source", "../my images", "../my images"),
        ("backbone.crop", "32", 32),
        ("backbone.crop", "null", None),
        ("augment.flip", "true", True),
        ("head.strengths", "[0.1, 1]", [0.1, 1]),
        ("finetune.rate", "1e-4", 1e-4),
        ("seed", "7", 7),
        *(("data.separator", text, text) for text in ("|", " ", "#", ",", "-")),
        ("data.separator", "';'", ";"),
        ("data.separator", "null", None),
        ("data.source", "2024", "2024"),
        ("predict.model", "3", "3"),
    ],
)
def test_values_are_yaml(file, name, text, value):
    apply([f"--{name}", text], file)
    node = read_document(file)
    for key in name.split("."):
        node = node[key]
    assert node == value


def test_no_overrides_or_unchanged_values_leave_the_file_as_it_is(file):
    before = file.read_text()
    assert apply([], file) == ""
    assert apply(["--seed", "0"], file) == ""
    assert file.read_text() == before


@pytest.mark.parametrize(
    ("arguments", "key", "fact"),
    [
        (["--finetune.block", "1"], "finetune.block", "did you mean finetune.blocks"),
        (["--finetune", "1"], "finetune", "dictionary"),
        (["--a.b.c", "1"], "a.b.c", "a.b.c"),
        (["--seed"], "usage", "--section.key value"),
        (["seed", "1"], "usage", "--section.key value"),
        (["--seed", "[1"], "seed", "[1"),
        (["--seed", "2024-13-45"], "seed", "2024-13-45"),
        (["--data.separator", "''"], "data.separator", "at least 1 character"),
        (["--register.model", "ants/bees"], "register.model", "line "),
        (["--augment.shift", "0.9"], "augment.shift", "less than or equal to 0.5"),
    ],
)
def test_a_mistake_is_refused_and_nothing_is_written(file, arguments, key, fact):
    before = file.read_text()
    with raises(ParamsError, key) as caught:
        apply(arguments, file)
    assert fact in str(caught.value)
    assert file.read_text() == before


def test_presets_name_existing_parameters_and_later_overrides_win(file):
    from ruamel.yaml import YAML

    document = YAML(typ="safe").load(file)
    for name in document["presets"]:
        apply(["--preset", name], file)
    apply(["--preset", "article", "--backbone.weights", "random"], file)
    changed = YAML(typ="safe").load(file)
    assert changed["backbone"]["architecture"] == "vgg16"
    assert changed["backbone"]["weights"] == "random"
    with raises(ParamsError, "preset") as caught:
        apply(["--preset", "artikle"], file)
    assert "article" in str(caught.value)
