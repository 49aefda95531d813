"""Helpers for tests of finetune's objectives: unlabeled images, teachers, curves."""

from __future__ import annotations

from contextlib import contextmanager

import pandas as pd
import pytest

from tasks.core.files import read_json
from tasks.core.schema import Balance, Candidate, Curve
from tasks.core.sections import BackboneParams, ComputeParams
from tasks.models.weights_file import read, write
from tasks.objectives.context import build_context
from tasks.objectives.teacher import SPEC
from tests.conftest import CPU, TINY
from tests.drawn import SHAPES, drawn
from tests.stages.contract import BACKBONE, METHODS, NOBODY, through_head


def add_unlabeled(paths, count=9):
    """Adds unlabeled images."""
    folder = paths.raw / "unlabelled"
    folder.mkdir()
    for place in range(count):
        drawn(SHAPES[place % 3], 9000 + place).save(folder / f"{place}.png")


def begun(paths, unlabeled=True):
    if unlabeled:
        add_unlabeled(paths)
    through_head(paths)


def curve(paths, candidate=Candidate.TUNED):
    rows = pd.read_json(paths.curves, lines=True)
    return rows[rows[Curve.CANDIDATE] == candidate]


def context_of(paths, balance=Balance.NONE):
    shared = (BackboneParams(**BACKBONE), ComputeParams(**CPU), 4, (2, "blocks"))
    return build_context(paths, *shared, balance=balance, key="a test")


def methods(**changes):
    return {name: {**section, **changes.get(name, {})} for name, section in METHODS.items()}


BACKBONE_AS_TEACHER = {**NOBODY, "architecture": TINY["architecture"], "weights": "tiny.pth", "resize": 32, "crop": 32}


def as_teacher(paths):
    """Writes the tuned model as a teacher file."""
    write(paths.teacher, read(paths.tuned)[0], {SPEC: read_json(paths.spec)})
    return {**NOBODY, "weights": "models:/rootstock@live"}


class Killed(Exception):  # noqa: N818
    pass


@contextmanager
def killed_at(monkeypatch, row):
    """Expects that a fit is killed at this row of its curves, counted from 1; it is saved after every epoch."""
    rows_said = []

    def die(done, total, text):
        rows_said.append(text)
        if len(rows_said) == row:
            raise Killed

    monkeypatch.setattr("tasks.training.trainer.SAVE_SECONDS", 0.0)
    with monkeypatch.context() as patched:
        patched.setattr("tasks.training.trainer.say_progress", die)
        with pytest.raises(Killed):
            yield
