from __future__ import annotations

import numpy as np
import pytest
import torch

from tasks.core.files import read_json
from tasks.core.schema import Curve
from tasks.models.weights_file import read
from tasks.training.interpolation import between, choose_alpha
from tests.stages.contract import evaluated, through_head, tuned
from tests.stages.objectives import curve

ALPHAS = [0.25, 0.5, 0.75, 1.0]


def chosen(gain_by_alpha: dict[float, torch.Tensor]) -> float:
    """Returns the alpha that is chosen for these gains over the initial weights, (N,) each."""
    return choose_alpha({0.0: torch.zeros(50)} | {alpha: -gain_N for alpha, gain_N in gain_by_alpha.items()})


def test_a_gain_is_kept_only_as_far_as_it_exceeds_its_noise():
    noise_N = torch.tensor(np.random.default_rng(0).normal(size=50))
    noise_N = (noise_N - noise_N.mean()) / noise_N.std()
    error = 1 / 50**0.5
    assert chosen({1.0: noise_N + 0.4 * error}) == 0.0
    assert chosen({1.0: noise_N + 0.6 * error}) == 1.0
    assert chosen({0.25: noise_N + 0.2 * error, 1.0: noise_N + 0.6 * error}) == 1.0
    assert chosen({0.25: noise_N + 0.3 * error, 1.0: noise_N + 0.6 * error}) == 0.25


def test_without_any_difference_the_initial_weights_are_kept():
    assert chosen({0.5: torch.zeros(50), 1.0: torch.zeros(50)}) == 0.0
    assert choose_alpha({0.0: torch.ones(1), 1.0: torch.zeros(1)}) == 1.0


def test_over_random_gains_and_losses_the_chosen_points_gain():
    random, gained = np.random.default_rng(0), []
    for _ in range(300):
        step_N, true = torch.tensor(random.normal(size=50)), float(random.normal() * 0.1)
        alpha = chosen({alpha: alpha * (step_N + true) for alpha in ALPHAS})
        gained.append(alpha * true)
    assert np.mean(gained) > 0


def test_points_lie_on_the_line_and_counters_are_the_last():
    first, last = ({"w": torch.full((2,), value), "n": torch.tensor(int(value))} for value in (1.0, 3.0))
    middle = between(first, last, 0.25)
    assert middle["w"].tolist() == [1.5, 1.5]
    assert middle["n"].item() == 3
    assert between(first, last, 1.0)["w"].tolist() == [3.0, 3.0]


def test_the_tuned_model_lies_between_the_probe_and_the_last_epoch(paths):
    through_head(paths)
    report = tuned(paths, scratch=False, epochs=3, interpolation=ALPHAS)
    alpha = report.more["alpha"]
    assert alpha in {0.0, *ALPHAS}
    assert report.best_epoch == curve(paths)[Curve.EPOCH].max() == 3
    head, (final, _) = read(paths.head_weights)[0], read(paths.tuned)
    tuned(paths, scratch=False, epochs=3, interpolation=[1.0e-9])
    near = read(paths.tuned)[0]
    torch.testing.assert_close(near["head.weight"], head["weight"])
    assert torch.allclose(final["head.weight"], head["weight"]) == (alpha == 0)
    evaluated(paths)
    assert read_json(paths.metrics)


def test_a_probe_that_cannot_be_improved_is_registered_unchanged(paths):
    """A learning rate that destroys the network."""
    through_head(paths)
    report = tuned(paths, scratch=False, epochs=2, interpolation=ALPHAS, rate=0.3, head_rate=0.3)
    assert report.more["alpha"] == 0.0
    assert report.validation_score == pytest.approx(curve(paths)[Curve.VALIDATION_SCORE].iloc[0])
    torch.testing.assert_close(read(paths.tuned)[0]["head.weight"], read(paths.head_weights)[0]["weight"])


def test_with_trained_statistics_the_best_epoch_is_kept(paths):
    through_head(paths)
    assert "alpha" not in tuned(paths, scratch=False, epochs=1, interpolation=ALPHAS, batchnorm="training").more
