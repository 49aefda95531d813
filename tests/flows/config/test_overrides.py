from __future__ import annotations

import pytest

from flows.config.overrides import apply, keep, overridden
from tasks.core.errors import DataRefusedError, ParamsError, RootstockError
from tasks.core.params import PARAMS_FILE, read_document
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


EPOCHS = ["--finetune.epochs", "7", "--data.source", "../my images"]


def run(error, first=lambda: None):
    with overridden(EPOCHS, "retrain"):
        assert read_document(PARAMS_FILE)["finetune"]["epochs"] == 7
        first()
        raise error


@pytest.fixture
def here(file, monkeypatch):
    """Returns params.yaml in the working directory, with unusual but valid formatting."""
    file.write_bytes(b"# mine\n" + file.read_bytes().replace(b"seed: 0", b"seed:   0") + b"\n\n")
    monkeypatch.chdir(file.parent)
    return file


@pytest.mark.parametrize(
    "error",
    [
        RootstockError("no such folder", key="data.source"),
        DataRefusedError("empty folders", key="empty-folders"),
        ParamsError("not with these data", key="objective"),
        OSError(28, "No space left on device"),
        KeyError("a bug"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_overrides_are_taken_back_if_nothing_has_run_with_them(here, capsys, error):
    before = here.read_bytes()
    with pytest.raises(type(error)):
        run(error)
    assert here.read_bytes() == before
    assert capsys.readouterr().out.splitlines()[-1] == "params.yaml is as before: the overrides were taken back"


@pytest.mark.parametrize(
    ("error", "is_kept"),
    [
        (DataRefusedError("a leak", key="validation-failed"), True),
        (RootstockError("crashed", key="stage-crashed"), True),
        (KeyboardInterrupt(), True),
        (ParamsError("not with these data", key="objective"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_once_a_stage_has_run_only_a_wrong_parameter_takes_them_back(here, error, is_kept):
    before = here.read_bytes()
    with pytest.raises(type(error)):
        run(error, keep)
    assert (here.read_bytes() != before) == is_kept


def test_overrides_that_work_stay_and_refused_ones_are_never_written(here, capsys):
    before = here.read_bytes()
    with raises(ParamsError, "finetune.blocks"), overridden(["--finetune.blocks", "x"], "retrain"):
        pytest.fail("it ran")
    assert here.read_bytes() == before
    assert "taken back" not in capsys.readouterr().out
    with overridden(EPOCHS, "retrain"):
        pass
    assert read_document(here)["finetune"]["epochs"] == 7


def test_a_run_without_overrides_takes_nothing_back(here):
    with raises(RootstockError, "x"), overridden([], "retrain"):
        here.write_text("changed by hand meanwhile")
        raise RootstockError("x", key="x")
    assert here.read_text() == "changed by hand meanwhile"


@pytest.mark.parametrize(
    ("arguments", "key", "fact"),
    [
        (["--preset", "artikle"], "preset", "did you mean article"),
        (["--preset", "zebra"], "preset", "it has "),
        (["--objective", "distilation"], "objective", "did you mean distillation"),
        (["--objective", "FIXMATCH"], "objective", "did you mean fixmatch"),
        (["--head.kind", "lineal"], "head.kind", "did you mean linear"),
        (["--backbone.match", "name"], "backbone.match", "did you mean names"),
        (["--compute.device", "cude"], "compute.device", "did you mean cuda"),
        (["--gate.metric", "macrof1"], "gate.metric", "did you mean macro_f1"),
        (["--backbone.archtecture", "resnet10"], "backbone.archtecture", "did you mean backbone.architecture"),
    ],
)
def test_close_names_are_suggested(file, arguments, key, fact):
    before = file.read_bytes()
    with raises(ParamsError, key) as caught:
        apply(arguments, file)
    assert fact in str(caught.value)
    assert file.read_bytes() == before


def test_close_names_of_keys_and_sections_in_the_file_are_suggested(file):
    text = file.read_text()
    for right, wrong, key in (("finetune:", "fintune:", "fintune"), ("  blocks:", "  block:", "finetune.block")):
        file.write_text(text.replace(f"\n{right}", f"\n{wrong}", 1))
        with pytest.raises(ParamsError) as caught:
            apply(["--seed", "1"], file)
        assert f"did you mean {right.strip(' :')}" in str(caught.value), key
