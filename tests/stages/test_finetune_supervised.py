"""The finetune stage on labels: compiled, and with epochs chosen by the loss at the best temperature."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from tasks.core.schema import Curve
from tasks.hardware import machine_cache
from tasks.models.networks import probe_network
from tasks.training.calibrated_loss import at_best_temperature
from tasks.training.loop import score
from tasks.training.measures import measure_classes
from tasks.training.types import scoring
from tests.stages.contract import tuned
from tests.stages.objectives import Killed, begun, context_of, curve, methods


@pytest.mark.slow  # a C++ compiler takes several minutes
def test_a_compiled_fit_learns_the_same_and_a_killed_one_ends_with_the_same_weights(paths, monkeypatch, tmp_path):
    """Batches have two sizes, and the second epoch trains one more block; the resumed run compiles again."""
    monkeypatch.setattr(machine_cache, "user_cache_path", lambda _name: tmp_path / "cache")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    begun(paths, unlabeled=False)
    options = {"scratch": False, "blocks": 2, "unfreeze": 1}
    tuned(paths, **options)
    plain, rows = load_file(paths.tuned), curve(paths)
    tuned(paths, compile=True, **options)
    undisturbed, compiled_rows = load_file(paths.tuned), curve(paths)
    pd.testing.assert_frame_equal(compiled_rows, rows, rtol=1e-3)
    assert not compiled_rows.equals(rows)
    for name, tensor in plain.items():
        torch.testing.assert_close(undisturbed[name], tensor, rtol=1e-2, atol=1e-3)

    def die(done, total, text):
        if (done, total) == (2, 3):
            raise Killed

    monkeypatch.setattr("tasks.training.trainer.SAVE_SECONDS", 0.0)
    with monkeypatch.context() as patched:
        patched.setattr("tasks.training.trainer.say_progress", die)
        with pytest.raises(Killed):
            tuned(paths, compile=True, **options)
    assert list(paths.checkpoints.rglob("*.safetensors"))
    tuned(paths, compile=True, **options)
    pd.testing.assert_frame_equal(curve(paths), compiled_rows)
    for name, tensor in load_file(paths.tuned).items():
        assert torch.equal(tensor, undisturbed[name]), name


@pytest.mark.parametrize("objective", ["labels", "pseudo_labels", "fixmatch"])
def test_an_epoch_is_chosen_by_its_loss_at_the_best_temperature(paths, objective, capsys):
    """The frozen blocks are computed once, including for validation, if a fit creates no views."""
    begun(paths)
    options = methods(unlabelled={"threshold": 0.0, "precision": 0.0, "rounds": 1})
    tuned(paths, objective=objective, methods=options, scratch=False)
    chosen_by, context = curve(paths)[Curve.VALIDATION_LOSS].iloc[0], context_of(paths)
    network = probe_network(context.fresh_backbone(), paths.head_weights, context.data.target.num_outputs)
    calibrated, plain = (
        score(network, context.trainer.validation.clean(), context.loader.device, scoring(measure)).loss
        for measure in (at_best_temperature(measure_classes), measure_classes)
    )
    assert chosen_by == pytest.approx(calibrated, rel=1e-4)
    assert calibrated < 0.9 * plain
    assert ("frozen blocks computed for" in capsys.readouterr().out) == (objective != "fixmatch")
