"""The benefit of compiling is measured and cached; features are the same, compiled or not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from tasks.core.errors import RootstockError
from tasks.embedding import compiled as compiling
from tasks.embedding import packages
from tasks.embedding.compiled import NotCompiledError, attempted, compiled, measure, pays
from tasks.hardware import machine_cache
from tasks.hardware.device import Device, choose
from tasks.models.backbone import Backbone, embed
from tasks.scorer.preprocessing import Preprocessing
from tests.errors import raises
from tests.project import ROOT

CPU = choose("cpu", "float32")


@pytest.fixture
def backbone(tmp_path, monkeypatch):
    """Returns a small network; the cache is empty."""
    monkeypatch.setattr(machine_cache, "user_cache_path", lambda _name: tmp_path)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    preprocessing = Preprocessing(32, 32, (0.5,) * 3, (0.5,) * 3, "bilinear")
    return Backbone(module.eval(), 8, preprocessing).folded()


@pytest.mark.parametrize(
    ("plain", "short", "start", "rows", "expected"),
    [
        (0.02, 0.01, 10, (5000, 5000), True),
        (0.02, 0.01, 10, (1100, 1100), False),  # compiling would take as long as it saves
        (0.02, 0.01, 10, (900, 900), False),  # fewer than the minimum
        (0.02, 0.019, 0, (10**6, 10**6), False),  # hardly faster
        (0.02, 0.01, 10, (1, 5000), False),  # nearly all rows were stored by the plain network
        (0.02, 0.01, 10, (1100, 1), True),  # nearly all rows were stored by the compiled network
        (0.02, 0.01, 10, (1, 0), True),  # all rows are stored
        (0.02, 0.01, 10, (0, 0), False),
    ],
)
def test_it_pays_for_many_rows_if_it_is_faster(backbone, monkeypatch, plain, short, start, rows, expected):
    monkeypatch.setattr(compiling, "measure", lambda *_: {"plain": plain, "compiled": short, "start": start})
    assert pays(backbone, CPU, 8, *rows, 1000) is expected
    assert not pays(backbone, CPU, 8, *rows, 0)


def test_the_speed_is_measured_once_and_only_where_compiling_may_pay_off(backbone, monkeypatch):
    calls = []

    def recorded(*arguments):
        calls.append(arguments)
        return {"plain": 0.02, "compiled": 0.01, "start": 0.0}

    monkeypatch.setattr(compiling, "measure", recorded)
    assert not pays(backbone, CPU, 8, 10**6, 10**6, 0)
    assert not pays(backbone, CPU, 8, 999, 999, 1000)
    assert not calls
    assert [pays(backbone, CPU, 8, rows, rows, 1000) for rows in (1000, 2000)] == [True, True]
    assert len(calls) == 1
    pays(backbone, CPU, 16, 1000, 1000, 1000)
    assert len(calls) == 2


def test_without_a_writable_cache_nothing_is_measured_or_compiled(backbone, monkeypatch, tmp_path):
    (tmp_path / "compiled").write_text("in the way")
    monkeypatch.setattr(compiling, "measure", lambda *_: pytest.fail("it was measured"))
    assert not pays(backbone, CPU, 8, 10**6, 10**6, 1)


@pytest.mark.slow  # a C++ compiler takes half a minute
def test_compiled_features_do_not_depend_on_the_batch(backbone, monkeypatch):
    device, near = choose("cpu", "bfloat16"), 3e-2  # for float32, see stages/test_features.py
    quick = compiled(backbone, device, 4)
    x = torch.rand(4, 3, 32, 32)
    with device.autocast():
        together = embed(quick.module, device.place(x)).clone()
        alone = embed(quick.module, device.place(torch.cat([x[2:3], torch.zeros(3, 3, 32, 32)])))
    torch.testing.assert_close(together, embed(backbone.module, x), atol=near, rtol=near)
    assert torch.equal(alone[0], together[2])
    monkeypatch.setattr(packages, "build", lambda *_: pytest.fail("it was compiled again"))
    assert torch.equal(embed(compiled(backbone, device, 4).module, x), together)


def fake_build(written: list[Path]) -> Callable[..., nn.Module]:
    """Returns a replacement for the compiler that leaves the network unchanged."""

    def build(file: Path, backbone: Backbone, _device: object, _batch: int) -> nn.Module:
        file.write_bytes(b"no package")
        written.append(file)
        return backbone.module

    return build


def test_a_package_is_of_one_network_with_its_weights_and_one_batch_and_a_damaged_one_is_made_again(
    backbone, monkeypatch, tmp_path, capsys
):
    made: list[Path] = []
    monkeypatch.setattr(packages, "build", fake_build(made))
    compiled(backbone, CPU, 4)
    compiled(backbone, CPU, 8)
    assert len(list((tmp_path / "compiled").iterdir())) == 2
    assert "damaged" not in capsys.readouterr().out
    compiled(backbone, CPU, 8)
    assert ".pt2 is damaged" in capsys.readouterr().out
    with torch.no_grad():
        next(backbone.module.parameters())[0] += 1
    compiled(backbone, CPU, 8)
    assert len(list((tmp_path / "compiled").iterdir())) == 3
    assert len(made) == 4
    assert not any(file.exists() for file in made)


def test_packages_stay_within_their_budget_and_the_most_recent_are_kept(backbone, monkeypatch):
    monkeypatch.setattr(packages, "build", fake_build([]))
    monkeypatch.setattr(packages, "Packaged", lambda *_: backbone.module)
    monkeypatch.setattr(packages, "ROOM", 2 * len(b"no package"))
    for batch in (1, 2, 1, 3):
        compiled(backbone, CPU, batch)
        time.sleep(0.01)
    kept = [batch for batch in (1, 2, 3) if packages.package_file(backbone, CPU, batch).exists()]
    assert kept == [1, 3]


def test_a_package_is_named_by_everything_that_it_depends_on(backbone, monkeypatch):
    def name(of: Backbone = backbone, device: Device = CPU) -> str:
        return packages.package_file(of, device, 4).name

    smaller = replace(backbone.preprocessing, crop=24)
    names = {name(), name(device=choose("cpu", "bfloat16")), name(replace(backbone, preprocessing=smaller))}
    for what, value in (("cpu_flags", frozenset({"sse"})), ("code_digest", lambda _: "other code")):
        with monkeypatch.context() as patch:
            patch.setattr(packages, what, value if callable(value) else lambda value=value: value)
            names.add(name())
    monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
    names.add(name())
    assert len(names) == 6


def test_a_network_whose_package_cannot_be_kept_is_used(backbone, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(packages, "build", fake_build([]))
    (tmp_path / "compiled").write_text("in the way")
    assert compiled(backbone, CPU, 4).module is backbone.module
    assert "is not kept" in capsys.readouterr().out


def test_with_a_package_compiling_costs_nothing(backbone, monkeypatch):
    monkeypatch.setattr(compiling, "measure", lambda *_: {"plain": 0.02, "compiled": 0.01, "start": 1000})
    assert not pays(backbone, CPU, 8, 5000, 5000, 1000)
    monkeypatch.setattr(packages, "build", fake_build([]))
    compiled(backbone, CPU, 8)
    assert pays(backbone, CPU, 8, 5000, 5000, 1000)


WITHOUT = """
from pathlib import Path
from tasks.hardware import machine_cache
from tasks.models.backbone import Backbone
from tasks.embedding.compiled import pays
from tasks.hardware.device import Device, choose
from tasks.scorer.preprocessing import Preprocessing
from torch import nn
machine_cache.user_cache_path = lambda _name: Path("cache")
module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten())
preprocessing = Preprocessing(32, 32, (0.5,) * 3, (0.5,) * 3, "bilinear")
assert not pays(Backbone(module.eval(), 8, preprocessing).folded(), choose("cpu", "float32"), 2, 9, 9, 1)
assert not list(Path("cache", "compiled").iterdir())
"""


@pytest.mark.slow
def test_without_a_compiler_it_continues_with_a_warning_and_tries_again_next_time(tmp_path):
    env = {**os.environ, "CXX": "no-such-compiler", "PYTHONPATH": str(ROOT)}
    env.pop("TORCHINDUCTOR_CACHE_DIR", None)
    command = [sys.executable, "-c", WITHOUT]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "cannot be compiled here" in done.stdout
    assert "continuing without" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


REFUSED = """
import torch
from torch import nn
from tasks.training.compiled import compiled_fit
from tasks.core.errors import ParamsError
module = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.LayerNorm(8))
try:
    with compiled_fit(module, enabled=True):
        module(torch.rand(4, 8)).sum().backward()
except ParamsError as error:
    print(error)
assert module(torch.rand(4, 8)).shape == (4, 8)
"""


@pytest.mark.slow
def test_a_fit_that_cannot_be_compiled_is_an_error(tmp_path):
    env = {**os.environ, "CXX": "no-such-compiler", "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path)}
    env.pop("TORCHINDUCTOR_CACHE_DIR", None)
    command = [sys.executable, "-c", REFUSED]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith("finetune.compile: compilation failed: "), done.stdout
    assert last.endswith("; set finetune.compile to false")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            RuntimeError("C++ compile error\n\nx.cpp:1: fatal error: Python.h: no such file\n"),
            "x.cpp:1: fatal error: Py",
        ),
        (RuntimeError("no room\nand more"), "here: no room ("),
        (RuntimeError(), "here: RuntimeError"),
    ],
)
def test_a_failing_compiler_is_an_error_with_cause_and_remedy(backbone, monkeypatch, error, expected):
    def fails(*_arguments):
        raise error

    monkeypatch.setattr(packages, "build", fails)
    with raises(NotCompiledError, "features.compile") as caught:
        compiled(backbone, CPU, 4)
    assert expected in str(caught.value)
    assert not pays(backbone, CPU, 8, 9, 9, 1)
    assert attempted(backbone, CPU, 4) is None
    assert not packages.package_file(backbone, CPU, 4).exists()


def test_a_compiled_network_with_other_features_is_refused(backbone, monkeypatch):
    monkeypatch.setattr(packages, "build", lambda *_: nn.Sequential(backbone.module, nn.ReLU6(), nn.Softplus()))
    with raises(NotCompiledError, "features.compile") as caught:
        compiled(backbone, CPU, 4)
    assert "differ by" in str(caught.value)
    assert not packages.package_file(backbone, CPU, 4).exists()


def test_out_of_memory_is_a_separate_error(backbone, monkeypatch):
    class Full(nn.Module):
        def forward(self, _x):
            raise torch.OutOfMemoryError

    with raises(RootstockError, "compute.batch"):
        measure(replace(backbone, module=Full()), CPU, 4)
