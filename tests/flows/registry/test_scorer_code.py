"""The checked code is both the code shipped with a version and the code that runs."""

from __future__ import annotations

import importlib.util
import json
import marshal
import struct
import sys
import traceback
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import pytest
import torch

from flows.registry.register import MODEL_CODE, TASKS
from tasks.evaluation import scorer_code
from tasks.evaluation.scorer_code import CODE_FILES, read_code, run_code
from tasks.scorer import answer

SINGLE = b'"""Answers."""\nANSWER = "checked"\n'
EVIL = b'"""Answers."""\nANSWER = "another"[:7]\n'
FOLDER = {
    "scorer/part.py": b'ANSWER = "checked"\n',
    "scorer/answer.py": b"from .part import ANSWER\n",
}
PART = b'ANSWER = "swapped"\n'


def written(folder: Path, code: Mapping[str, bytes]) -> Path:
    for name, content in code.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def imported(file: Path):
    """Imports the file as Python itself would."""
    spec = importlib.util.spec_from_file_location(f"ordinary_{file.stem}", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def plant(file: Path, source: bytes) -> Path:
    """Writes a .pyc of other code for a file, with the mtime and size that Python compares."""
    stat = file.stat()
    header = importlib.util.MAGIC_NUMBER + struct.pack("<III", 0, int(stat.st_mtime), stat.st_size)
    pyc = Path(importlib.util.cache_from_source(file))
    pyc.parent.mkdir(exist_ok=True)
    pyc.write_bytes(header + marshal.dumps(compile(source, str(file), "exec")))
    return pyc


@pytest.fixture
def two_formats(monkeypatch):
    """Returns a single file and a folder of two files: the two forms in which code is shipped."""
    monkeypatch.setattr(scorer_code, "CODE_FILES", {1: ("scorer.py",), 2: tuple(FOLDER)})


FORMS = pytest.mark.parametrize(
    ("spec", "code", "target", "other"),
    [
        (b"{}", {"scorer.py": SINGLE}, "scorer.py", EVIL),
        (b'{"format": 2}', FOLDER, "scorer/part.py", PART),
    ],
    ids=["single file", "folder"],
)


def test_what_is_shipped_is_the_whole_folder_and_its_format_the_newest():
    folder = {f"scorer/{file.name}" for file in (TASKS / "scorer").glob("*.py")} - {"scorer/__init__.py"}
    assert set(CODE_FILES[answer.FORMAT]) == folder
    assert max(CODE_FILES) == answer.FORMAT
    assert CODE_FILES[answer.FORMAT][-1] == "scorer/answer.py"
    assert (TASKS / "scorer" / "__init__.py").read_bytes() == b""


def test_both_loaders_are_the_same_text():
    blocks = []
    for file in (Path(scorer_code.__file__), MODEL_CODE):
        _, start, after = file.read_text().partition("# --- the loader: ")
        block, end, _ = after.partition("# --- end of loader")
        assert start
        assert end
        blocks.append(block)
    assert blocks[0] == blocks[1]
    assert "class CodeLoader" in blocks[0]


@pytest.mark.usefixtures("two_formats")
@FORMS
def test_a_stale_pyc_is_not_run(tmp_path, spec, code, target, other):
    """Python itself runs it, as the first assertion shows."""
    pyc = plant(written(tmp_path, code) / target, other)
    assert imported(tmp_path / target).ANSWER != "checked"
    before = pyc.read_bytes()
    assert run_code(read_code(tmp_path, spec)).ANSWER == "checked"
    assert pyc.read_bytes() == before
    assert list(tmp_path.rglob("*.pyc")) == [pyc]


@pytest.mark.usefixtures("two_formats")
@FORMS
def test_a_file_that_is_swapped_after_it_was_read_is_not_run(tmp_path, monkeypatch, spec, code, target, other):
    """Each file is read once, here by a reader that immediately replaces it with other code."""
    read, reads = Path.read_bytes, []

    def swapping(path: Path) -> bytes:
        content = read(path)
        reads.append(path.name)
        path.write_bytes(other)
        return content

    written(tmp_path, code)
    monkeypatch.setattr(Path, "read_bytes", swapping)
    sources = read_code(tmp_path, spec)
    assert run_code(sources).ANSWER == "checked"
    assert sorted(reads) == sorted(Path(name).name for name in code)
    assert imported(tmp_path / target).ANSWER != "checked"


@pytest.mark.usefixtures("two_formats")
def test_what_lies_beside_is_neither_read_nor_importable(tmp_path):
    stray = b"raise SystemExit('run')\n"
    written(tmp_path, {**FOLDER, "scorer/stray.py": stray, "scorer/__init__.py": stray, "scorer/json.py": stray})
    sources = read_code(tmp_path, b'{"format": 2}')
    assert set(sources) == set(FOLDER)
    package = run_code(sources).__package__
    with pytest.raises(ModuleNotFoundError):
        import_module(f"{package}.stray")


@pytest.mark.usefixtures("two_formats")
def test_a_version_is_one_module_and_two_versions_are_two():
    first, again = run_code(FOLDER), run_code(dict(FOLDER))
    assert first is again
    other = run_code({**FOLDER, "scorer/part.py": PART})
    assert (first.ANSWER, other.ANSWER) == ("checked", "swapped")
    assert sys.modules[f"{first.__package__}.part"] is not sys.modules[f"{other.__package__}.part"]


def test_the_same_bytes_in_other_files_are_another_version():
    one, two = {"scorer/a.py": b"x = 1\n", "scorer/b.py": b""}, {"scorer/a.py": b"", "scorer/b.py": b"x = 1\n"}
    assert run_code(one).__package__ != run_code(two).__package__


@pytest.mark.usefixtures("two_formats")
def test_an_error_in_shipped_code_shows_the_line_that_was_run():
    code = {**FOLDER, "scorer/answer.py": b"def fail():\n    return 1 // 0  # here\n"}
    with pytest.raises(ZeroDivisionError) as error:
        run_code(code).fail()
    assert "return 1 // 0  # here" in "".join(traceback.format_exception(error.value))


@pytest.mark.parametrize("number", [0, 4, "3", None, [3]])
def test_an_unknown_format_is_an_error(tmp_path, number):
    with pytest.raises(ValueError, match=r"its format is .*; the newest one supported here is 3"):
        read_code(tmp_path, json.dumps({"format": number}).encode())


def test_a_missing_file_is_an_error(tmp_path):
    written(tmp_path, read_code(TASKS, b'{"format": 3}'))
    (tmp_path / "scorer" / "labels.py").unlink()
    with pytest.raises(FileNotFoundError, match=r"labels\.py"):
        read_code(tmp_path, b'{"format": 3}')


def test_shipped_code_predicts_like_the_projects_code(tmp_path):
    from safetensors.torch import save_file

    from tasks.scorer.network import build_network
    from tasks.scorer.preprocessing import Preprocessing
    from tests.registered.drawing import COUNT, SHAPES, picture

    preprocessing = Preprocessing(32, 32, (0.5,) * 3, (0.5,) * 3, "bilinear")
    (tmp_path / "spec.json").write_text(json.dumps(answer.spec_of("resnet8", SHAPES, preprocessing)))
    save_file(build_network("resnet8", 3).state_dict(), tmp_path / "w.safetensors")
    module = run_code(read_code(TASKS, (tmp_path / "spec.json").read_bytes()))
    assert module.Scorer is not answer.Scorer
    pictures = [picture(number) for number in range(COUNT)]
    theirs, ours = (
        Scorer.load(tmp_path / "spec.json", tmp_path / "w.safetensors").probabilities(pictures)
        for Scorer in (module.Scorer, answer.Scorer)
    )
    torch.testing.assert_close(theirs, ours)
    loaded = {name for name in sys.modules if name.startswith(f"{module.__package__}.")}
    assert loaded == {f"{module.__package__}.{Path(name).stem}" for name in CODE_FILES[3]}
