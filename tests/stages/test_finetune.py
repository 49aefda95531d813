from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tasks.core.errors import ParamsError, RootstockError
from tasks.core.files import read_json
from tasks.core.schema import Candidate, Curve
from tasks.models.freezing import freeze_all_but_last, within
from tasks.scorer.architectures import build_backbone
from tests.conftest import TINY
from tests.errors import raises
from tests.stages.contract import augmented, embedded, evaluated, headed, ingested, through_head, tuned


def test_finetune_starts_from_the_probe_and_writes_both_networks(paths):
    through_head(paths)
    report = tuned(paths)
    rows = [json.loads(line) for line in paths.curves.read_text().splitlines()]
    by_candidate = {
        name: [row for row in rows if row[Curve.CANDIDATE] == name] for name in (Candidate.TUNED, Candidate.SCRATCH)
    }
    assert report.steps == by_candidate[Candidate.SCRATCH][-1][Curve.STEP] == 9
    start = by_candidate[Candidate.TUNED][0]
    assert start[Curve.VALIDATION_SCORE] == pytest.approx(
        min(read_json(paths.probe), key=lambda row: row["loss"])["score"], abs=1e-6
    )
    frozen, learned = load_file(paths.tuned), torch.load(paths.pretrained)
    assert torch.equal(frozen["backbone.conv1.0.weight"], learned["conv1.0.weight"])
    assert report.best_epoch > 0
    assert not torch.equal(frozen["backbone.conv5.0.weight"], learned["conv5.0.weight"])
    assert not paths.checkpoints.exists()


def curve(paths):
    rows = [json.loads(line) for line in paths.curves.read_text().splitlines()]
    return [row[Curve.VALIDATION_LOSS] for row in rows], [row[Curve.TRAIN_LOSS] for row in rows[1:]]


@pytest.mark.parametrize("changes", [{}, {"blocks": 3, "unfreeze": 1, "batchnorm": "training"}, {"layers": 4}])
def test_activations_of_the_frozen_blocks_change_no_loss(paths, capsys, changes):
    through_head(paths)
    tuned(paths, scratch=False, cache=0.0, epochs=5, **changes)
    plain = curve(paths)
    assert "frozen blocks" not in capsys.readouterr().out
    report = tuned(paths, scratch=False, cache=1.0, epochs=5, **changes)
    # Three views of 18 training and 9 validation images, instead of five epochs plus the initial state.
    asked, computed = 5 * 18 + 6 * 9, 3 * 18 + 9
    assert f"frozen blocks computed for {computed} images instead of {asked}" in capsys.readouterr().out
    assert report.more == {"frozen_blocks_asked": asked, "frozen_blocks_computed": computed}
    for losses, expected in zip(curve(paths), plain, strict=True):
        np.testing.assert_allclose(losses, expected, atol=1e-6)


def test_each_training_option_changes_the_fit(paths):
    """The parameters reach the fit; 'bar' has fewer images than the other classes."""
    for file in sorted((paths.raw / "train" / "bar").glob("*.png"))[:3]:
        file.unlink()
    through_head(paths)
    asked = [{}, {"smoothing": 0.2}, {"mixup": 1.0}, {"cutmix": 1.0}, {"clip": 1e-3}, {"average": 0.9}, {"unfreeze": 1}]
    asked += [{"balance": balance} for balance in ("weights", "sampling", "logits")]
    runs = []
    for change in asked:
        tuned(paths, scratch=False, blocks=2, **change)
        runs.append(np.concatenate(curve(paths)))
    for change, losses in zip(asked[1:], runs[1:], strict=True):
        assert np.abs(runs[0] - losses).max() > 1e-4, change


@pytest.mark.parametrize("cut", [{"layers": 1}, {"layers": 4}, {"blocks": 2}], ids=str)
def test_what_is_frozen_stays_so_bit_by_bit_under_every_schedule(paths, cut):
    ingested(paths), augmented(paths), embedded(paths), headed(paths, strengths=[1e9])
    how = {"average": 0.5, "clip": 1.0, "parts": 2, "mixup": 0.2, "cutmix": 1.0, "unfreeze": 1}
    how |= {"batchnorm": "training", "weight_decay": 0.5, "epochs": 6}
    report = tuned(paths, scratch=False, **how, **cut)
    assert report.best_epoch > 0
    came, now = torch.load(paths.pretrained), load_file(paths.tuned)
    ((unit, count),) = cut.items()
    learning = [
        name for part in freeze_all_but_last(build_backbone(TINY["architecture"])[0], count, unit) for name in part
    ]
    kept = [name for name in came if f"backbone.{name}" in now and not within(name, learning)]
    assert 0 < len(kept) < len(came)
    assert all(torch.equal(came[name], now[f"backbone.{name}"]) for name in kept if "num_batches" not in name)
    assert not all(torch.equal(came[name], now[f"backbone.{name}"]) for name in came if within(name, learning))


def test_a_fit_with_batches_in_parts_ends_with_the_same_weights(paths):
    through_head(paths)
    states = []
    for parts in (1, 2):
        tuned(paths, scratch=False, parts=parts)
        states.append(load_file(paths.tuned))
    for name, tensor in states[0].items():
        torch.testing.assert_close(tensor, states[1][name], atol=1e-5, rtol=1e-4)
    assert any(not torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


def test_training_options_are_not_part_of_the_model(paths):
    """Mixing, smoothing, dropout, averages and balance change only the weights: the model is evaluated as usual."""
    ingested(paths), augmented(paths), embedded(paths), headed(paths, balance="logits")
    extras = {"mixup": 0.2, "cutmix": 1.0, "smoothing": 0.1, "average": 0.9, "clip": 1.0, "parts": 2, "unfreeze": 1}
    for balance in ("weights", "sampling", "logits"):
        tuned(paths, scratch=balance == "logits", balance=balance, blocks=2, **extras)
        evaluated(paths)
    with raises(ParamsError, "finetune.dropout"):
        tuned(paths, dropout=0.5)
    with raises(ParamsError, "head.start"):
        headed(paths, start="earlier")
    with raises(ParamsError, "head.grow"):
        headed(paths, kind="dense", grow=[16, 8])
    with raises(ParamsError, "head.grow"):
        headed(paths, grow=[4])


def test_finetune_can_leave_the_baseline_out(paths):
    through_head(paths)
    assert tuned(paths, scratch=False).seconds_scratch == 0
    assert not paths.scratch.exists()
    evaluated(paths)
    assert set(read_json(paths.metrics)) == {Candidate.PROBE, Candidate.TUNED}


def test_finetune_stops_at_a_loss_that_is_not_finite(paths):
    through_head(paths)
    with raises(RootstockError, "loss-not-finite"):
        tuned(paths, rate=1e20, head_rate=1e20, warmup=0)


def test_the_validation_split_alone_is_chosen_on_and_test_alone_is_scored(paths):
    """Removing a test image changes nothing before evaluation."""
    through_head(paths)
    tuned(paths)
    before = [file.read_bytes() for file in (paths.head_weights, paths.tuned, paths.scratch)]
    (paths.raw / "test" / "bar" / "0.png").unlink()
    through_head(paths)
    tuned(paths)
    assert before == [file.read_bytes() for file in (paths.head_weights, paths.tuned, paths.scratch)]
