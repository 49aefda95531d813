"""When each callback hook is called, how callbacks combine, and where their numbers are reported."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tasks.core.schema import Curve
from tasks.objectives import finetuning
from tasks.training.callbacks import Callback
from tasks.training.types import Score
from tests.stages.contract import _pinned, through_head, tuned  # noqa: F401 - a fixture
from tests.stages.objectives import curve
from tests.training.small_fit import SCHEDULE, trained


class Recorder(Callback):
    """Records its calls, and returns the base class's results."""

    def __init__(self):
        self.calls, self.may_be_best_at, self.should_stop_at = [], [], []

    def on_epoch_begin(self, epoch, network):
        self.calls.append(f"begin {epoch}")

    def validate(self, network):
        self.calls.append("validate")
        return super().validate(network)

    def may_be_best(self, rows):
        self.may_be_best_at.append(len(rows))
        return super().may_be_best(rows)

    def should_stop(self, rows):
        self.should_stop_at.append(len(rows))
        return super().should_stop(rows)

    def on_end(self, network):
        self.calls.append("end")
        return {"calls": float(len(self.calls))}


class Fixed(Callback):
    """Gives every epoch the same score."""

    def __init__(self, loss):
        self.loss = loss

    def validate(self, network):
        return Score(self.loss, 0.25, {"doubled": 2 * self.loss})


class AtRows(Callback):
    """Keeps an epoch, or stops, when the curve has one of these lengths."""

    def __init__(self, best=(), stop=()):
        self.best, self.stop = best, stop

    def may_be_best(self, rows):
        return len(rows) in self.best

    def should_stop(self, rows):
        return len(rows) in self.stop


def with_callbacks(monkeypatch, *callbacks):
    """Adds callbacks to the plan that every objective starts from."""
    plan_on_labels = finetuning.plan_on_labels

    def planned(*arguments):
        network, plan = plan_on_labels(*arguments)
        return network, replace(plan, callbacks=(*plan.callbacks, *callbacks))

    monkeypatch.setattr(finetuning, "plan_on_labels", planned)


def test_hooks_are_called_around_epochs_and_numbers_reach_the_report(paths, monkeypatch):
    through_head(paths)
    recorder = Recorder()
    with_callbacks(monkeypatch, recorder)
    report = tuned(paths, scratch=False, epochs=2)
    assert recorder.calls == ["validate", "begin 0", "validate", "begin 1", "validate", "end"]
    assert recorder.may_be_best_at[0] == 1
    assert set(recorder.should_stop_at) >= {1, 2}
    assert report.more["calls"] == 6


def test_the_first_callback_that_validates_decides(paths, monkeypatch):
    through_head(paths)
    with_callbacks(monkeypatch, Recorder(), Fixed(0.5), Fixed(0.1))
    report = tuned(paths, scratch=False, epochs=2)
    assert curve(paths)[Curve.VALIDATION_LOSS].tolist() == [0.5] * 3
    assert curve(paths)["doubled"].tolist() == [1.0] * 3
    assert (report.best_epoch, report.validation_score, report.more["doubled"]) == (0, 0.25, 1.0)


@pytest.mark.parametrize("order", [1, -1])
def test_an_epoch_is_the_best_only_if_all_callbacks_allow_it(tmp_path, order):
    callbacks = [Recorder(), AtRows(best=range(9)), AtRows(best=[1])][::order]
    _, free = trained(tmp_path / "a.safetensors", callbacks=callbacks[1:2])
    _, progress = trained(tmp_path / "b.safetensors", callbacks=callbacks)
    assert free.kept > 0 == progress.kept


@pytest.mark.parametrize("order", [1, -1])
def test_any_callback_ends_the_fit(tmp_path, order):
    callbacks = [Recorder(), AtRows(best=range(9), stop=[9]), AtRows(best=range(9), stop=[3])][::order]
    _, progress = trained(tmp_path / "a.safetensors", SCHEDULE, callbacks=callbacks)
    assert (progress.epoch, progress.kept) == (2, 2)
