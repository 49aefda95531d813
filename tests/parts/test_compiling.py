"""Whether a network is compiled is measured and remembered; compiled or not, it answers the same."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from tasks.parts import compiling, remembered
from tasks.parts.backbone import Backbone
from tasks.parts.compiling import compiled, measure, pays
from tasks.parts.device import choose
from tasks.parts.errors import RootstockError
from tasks.parts.scorer import Preprocessing, build_backbone
from tests.project import ROOT

CPU = choose("cpu", "float32")


@pytest.fixture
def backbone(tmp_path, monkeypatch):
    """A small network, and an empty memory."""
    monkeypatch.setattr(remembered, "user_cache_path", lambda _name: tmp_path)
    module, width = build_backbone("resnet8")
    preprocessing = Preprocessing(32, 32, (0.5,) * 3, (0.5,) * 3, "bilinear")
    return Backbone(module.eval(), width, preprocessing).folded()


@pytest.mark.parametrize(
    ("plain", "short", "start", "rows", "expected"),
    [
        (0.02, 0.01, 10, 5000, True),
        (0.02, 0.01, 10, 1100, False),  # it would take as long to compile
        (0.02, 0.01, 10, 900, False),  # fewer than are asked for
        (0.02, 0.019, 0, 10**6, False),  # hardly quicker
        (0.02, 0.02, 0, 10**6, False),  # could not be compiled
    ],
)
def test_it_pays_for_many_rows_where_it_is_quicker(backbone, monkeypatch, plain, short, start, rows, expected):
    found = {"plain": plain, "compiled": short, "start": start}
    monkeypatch.setattr(compiling, "measure", lambda *_: found)
    assert pays(backbone, CPU, 8, rows, 1000) is expected


def test_it_is_measured_once_and_only_where_it_may_pay(backbone, monkeypatch):
    asked = []

    def told(*what):
        asked.append(what)
        return {"plain": 0.02, "compiled": 0.01, "start": 0.0}

    monkeypatch.setattr(compiling, "measure", told)
    assert not pays(backbone, CPU, 8, 10**6, 0)
    assert not pays(backbone, CPU, 8, 999, 1000)
    assert not asked
    assert [pays(backbone, CPU, 8, rows, 1000) for rows in (1000, 2000)] == [True, True]
    assert len(asked) == 1
    pays(backbone, CPU, 16, 1000, 1000)
    assert len(asked) == 2


def test_where_nothing_can_be_remembered_nothing_is_compiled(backbone, monkeypatch, tmp_path):
    (tmp_path / "compiled").write_text("in the way")
    monkeypatch.setattr(compiling, "measure", lambda *_: {"plain": 0.02, "compiled": 0.01, "start": 0.0})
    assert not pays(backbone, CPU, 8, 10**6, 1)


@pytest.mark.slow  # a C++ compiler works for half a minute
def test_compiled_it_answers_the_same_alone_and_in_company(backbone, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    quick = compiled(backbone, CPU, 4)
    x = torch.rand(4, 3, 32, 32)
    with torch.inference_mode():
        together = quick.module(CPU.place(x)).clone()
        torch.testing.assert_close(together, backbone.module(x), atol=1e-5, rtol=1e-5)
        alone = quick.module(CPU.place(torch.cat([x[2:3], torch.zeros(3, 3, 32, 32)])))
    assert torch.equal(alone[0], together[2])
    assert list((tmp_path / "inductor").iterdir())


WITHOUT = """
import torch
from tasks.parts.backbone import Backbone
from tasks.parts.compiling import measure
from tasks.parts.device import choose
from tasks.parts.scorer import Preprocessing, build_backbone
module, width = build_backbone("resnet8")
preprocessing = Preprocessing(32, 32, (0.5,) * 3, (0.5,) * 3, "bilinear")
found = measure(Backbone(module.eval(), width, preprocessing).folded(), choose("cpu", "float32"), 2)
assert found["compiled"] == found["plain"], found
"""


@pytest.mark.slow
def test_without_a_compiler_it_goes_on_and_says_so(tmp_path):
    env = {**os.environ, "CXX": "no-such-compiler", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "cannot be compiled" in done.stdout
    assert "going on without" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_compiler_that_fails_is_an_error_that_says_what_to_do(backbone, monkeypatch):
    def fails(*_args, **_how):
        raise RuntimeError("no room\nand much more")

    monkeypatch.setattr(torch, "compile", fails)
    with pytest.raises(RootstockError, match=r"cannot be compiled here: no room; features\.compile: 0"):
        compiled(backbone, CPU, 4)
    assert measure(backbone, CPU, 4)["start"] == 0.0
