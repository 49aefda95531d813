"""Parts of a few functions each: device, pixels, progress, page, pictures, checkpoint, supervision."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch

from tasks.core.errors import RootstockError
from tasks.core.progress import MARK, counted, percent
from tasks.core.schema import Candidate, Curve
from tasks.core.supervision import EXIT_ORPHANED, SUPERVISED, stage_lock
from tasks.evaluation.candidates import some
from tasks.hardware.device import _isa_limit_allows_bfloat16, choose
from tasks.images.loading import Squares, ahead
from tasks.reports import pictures
from tasks.reports.diagrams import robustness
from tasks.reports.page import Part, markdown_table, page
from tasks.scorer.scorer import Preprocessing
from tasks.training.checkpoint import FileCheckpoint, digest_of
from tests.drawn import write_shapes
from tests.project import ROOT, environment, wait_until

PREPARE = Preprocessing(32, 32, (0.5,) * 3, (0.5,) * 3, "bilinear")


@pytest.mark.parametrize(
    ("limit", "allowed"),
    [(None, True), ("AVX2", False), ("AVX512_CORE", False), ("AVX512_CORE_BF16", True), ("AVX512_CORE_AMX", True)],
)
def test_an_older_instruction_set_has_no_fast_bfloat16(monkeypatch, limit, allowed):
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    if limit:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert _isa_limit_allows_bfloat16() == allowed


def test_precision_is_what_was_asked_for():
    layer, x = torch.nn.Linear(4, 4), torch.ones(2, 4)
    for precision, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        device = choose("cpu", precision)
        with device.autocast():
            assert layer(x).dtype == dtype
        assert device.facts()["dtype"] == precision


def test_squares_are_decoded_once_if_they_fit(tmp_path):
    root = write_shapes(tmp_path / "shapes", {"": 2})
    files = ["bar/0.png", "disc/0.png"]
    kept, again = Squares(root, files, PREPARE, memory=1), Squares(root, files, PREPARE, memory=0)
    first = kept[[1, 0]]
    assert torch.equal(first, again[[1, 0]])
    (root / "bar" / "0.png").unlink()
    assert torch.equal(kept[[1, 0]], first)
    with pytest.raises(FileNotFoundError):
        again[[0]]


def test_items_made_ahead_keep_their_order_and_errors_arrive():
    assert list(ahead(iter(range(50)))) == list(range(50))

    made = []

    def noted():
        for number in range(3):
            made.append(number)
            yield number

    slow = ahead(noted())
    assert next(slow) == 0
    wait_until(lambda: made == [0, 1, 2])  # while nobody asks for more
    assert list(slow) == [1, 2]

    def broken():
        yield 1
        raise ValueError("in the thread")

    items = ahead(broken())
    assert next(items) == 1
    with pytest.raises(ValueError, match="in the thread"):
        next(items)


def test_progress_is_said_at_intervals(capsys, monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    assert list(counted("abcdef", 6, "letters")) == list("abcdef")
    lines = capsys.readouterr().out.splitlines()
    assert lines
    assert all(line.startswith(MARK) and "of 6 letters" in line for line in lines)
    assert percent(450, 1000, "images") == "45% 450 of 1000 images"


def test_a_page_holds_its_pictures_and_escapes_its_texts(tmp_path):
    pictures.candidates(tmp_path / "c.png", {Candidate.PROBE: (0.9, 0.8, 0.95)}, "accuracy", 1)
    html = page("<b>", [Part("heading", "text & more", columns=["a"], rows=[["<i>"]], picture=tmp_path / "c.png")])
    assert "&lt;b&gt;" in html
    assert "&lt;i&gt;" in html
    assert "data:image/png;base64,iVBOR" in html


def test_markdown_cells_may_hold_pipes():
    assert markdown_table(["a|b"], [["c|d"]]).splitlines() == [r"| a\|b |", "| --- |", r"| c\|d |"]


def drawings(folder):
    """One picture of each kind."""
    folder.mkdir()
    pictures.sheet(folder / "sheet.png", [np.random.rand(2, 3, 8, 8)], ["clean", "view 1", "view 2"])
    pictures.captioned(folder / "wrong.png", [np.zeros((9, 5, 3), np.uint8)] * 9, ["a, not\nb"] * 9)
    pictures.captioned(folder / "none.png", [], [])
    pictures.confusion(folder / "few.png", np.eye(3, dtype=int), ["$10_to_$20", "$%$", "c"])
    pictures.confusion(folder / "many.png", np.eye(200, dtype=int), [str(n) for n in range(200)])
    row = {Curve.CANDIDATE: Candidate.TUNED, Curve.STEP: 1, Curve.VALIDATION_LOSS: 0.5, Curve.VALIDATION_SCORE: 0.5}
    pictures.curves(folder / "curves.png", [row, {**row, Curve.STEP: 2}])
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_pictures_are_the_same_files_each_time(tmp_path):
    np.random.seed(1)
    first = drawings(tmp_path / "a")
    np.random.seed(1)
    assert first == drawings(tmp_path / "b")
    assert all(data.startswith(b"\x89PNG") for data in first.values())


def test_many_strengths_of_a_corruption_are_drawn(tmp_path):
    rows = [{"corruption": "noise", "strength": step / 10, "accuracy": 0.5} for step in range(9)]
    robustness(tmp_path / "robust.png", rows, 0.9)
    assert (tmp_path / "robust.png").stat().st_size > 1000


def test_a_checkpoint_is_what_was_saved_last(tmp_path):
    checkpoint = FileCheckpoint(tmp_path / "deep" / "c.safetensors")
    assert checkpoint.load() is None
    for epoch in (1, 2):
        checkpoint.save({"w": torch.full((2,), float(epoch))}, {"epoch": epoch, "rows": [{"loss": 0.1 + 0.2}]})
    tensors, values = checkpoint.load()
    assert (tensors["w"].tolist(), values) == ([2.0, 2.0], {"epoch": 2, "rows": [{"loss": 0.1 + 0.2}]})


def test_a_digest_changes_with_files_and_values(tmp_path):
    (tmp_path / "a").write_text("a")
    first = digest_of([tmp_path / "a"], {"rate": 1})
    assert first == digest_of([tmp_path / "a"], {"rate": 1}) != digest_of([tmp_path / "a"], {"rate": 2})
    (tmp_path / "a").write_text("b")
    assert first != digest_of([tmp_path / "a"], {"rate": 1})


WATCHED = """
import time
from tasks.core.supervision import watch_supervisor
watch_supervisor()
print('up', flush=True)
time.sleep({})
"""


def watched(seconds, **more):
    command = [sys.executable, "-c", WATCHED.format(seconds)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=environment(**more), stdin=pipe, stdout=pipe, text=True)


def test_a_supervised_stage_dies_with_its_input():
    process = watched(60, **{SUPERVISED: "run"})
    assert process.stdout.readline() == "up\n"
    process.stdin.close()
    assert process.wait(2) == EXIT_ORPHANED


def test_a_stage_run_by_hand_does_not():
    process = watched(0.5)
    process.stdin.close()
    assert process.wait(10) == 0


def test_two_stages_of_one_checkout_are_kept_apart(tmp_path, monkeypatch):
    monkeypatch.setattr("tasks.core.supervision.LOCK_WAIT", 0.1)
    with stage_lock(tmp_path), pytest.raises(RootstockError, match="another stage is at work"), stage_lock(tmp_path):
        pass
    with stage_lock(tmp_path):
        pass


def test_some_rows_are_as_many_as_wanted_and_of_all_kinds():
    rows = pd.DataFrame({"eye": ["left", "right"] * 200})
    assert [len(some(rows, most)) for most in (0, 1, 200, 399, 400, 1000)] == [0, 1, 200, 399, 400, 400]
    assert 70 < (some(rows, 200)["eye"] == "left").sum() < 130
    assert list(some(rows, 200).index) == sorted(some(rows, 200).index)
