from __future__ import annotations

import numpy as np
import torch

from tasks.core.target import TargetKind, TargetSpec
from tasks.metrics.calibration import temperature
from tasks.objectives.out_of_fold import PROBE, best_point, out_of_fold
from tasks.training.kinds import row_loss_for

ROW_LOSS = row_loss_for(TargetSpec(kind=TargetKind.CLASSIFICATION, classes=("a", "b", "c")))


def drawn(generator, images, models=24, noise=1.5):
    """Returns models that are right to the same degree, each with noise of its own, overconfident; and the truth."""
    y_N = torch.randint(3, (images,), generator=generator)
    signal_NC = 3 * torch.nn.functional.one_hot(y_N, 3) + 1.5 * torch.randn(images, 3, generator=generator)
    points = [PROBE, *((place, 1.0) for place in range(models - 1))]
    return {point: 1.5 * signal_NC + noise * torch.randn(images, 3, generator=generator) for point in points}, y_N


def test_the_temperature_of_a_chosen_model_is_that_of_images_that_did_not_choose_it():
    generator, naive, crossed = torch.Generator().manual_seed(0), [], []
    for _ in range(40):
        outputs, y_N = drawn(generator, 50)
        naive.append(temperature(outputs[best_point(outputs, y_N, ROW_LOSS)], y_N, cautious=True))
        calibrating_NC = out_of_fold(outputs, y_N, np.arange(50) % 10, ROW_LOSS, TargetKind.CLASSIFICATION)
        crossed.append(temperature(calibrating_NC, y_N, cautious=True))
    many, y_N = drawn(generator, 20000, models=1)
    true = temperature(many[PROBE], y_N)
    assert np.mean(np.log(naive)) < np.log(true) - 0.1
    assert abs(np.mean(np.log(crossed)) - np.log(true)) < 0.1


def test_each_image_has_the_output_of_a_model_chosen_without_it():
    """Each model is right on one fold only, so it is used on the other."""
    y_N = torch.tensor([0, 1] * 20)
    first_N, right_NC = torch.arange(40) < 20, 5.0 * torch.nn.functional.one_hot(y_N, 3)
    wrong_NC = right_NC.roll(1, 1)
    outputs = {PROBE: torch.zeros(40, 3)}
    outputs[0, 1.0] = torch.where(first_N[:, None], right_NC, wrong_NC)
    outputs[1, 1.0] = torch.where(first_N[:, None], wrong_NC, right_NC)
    calibrating_NC = out_of_fold(outputs, y_N, (~first_N).int().numpy(), ROW_LOSS, TargetKind.CLASSIFICATION)
    assert (calibrating_NC[first_N].argmax(1) != y_N[first_N]).all()
    assert (calibrating_NC[~first_N].argmax(1) != y_N[~first_N]).all()


def test_a_single_fold_leaves_the_best_model_as_it_is():
    outputs, y_N = drawn(torch.Generator().manual_seed(0), 20)
    calibrating_NC = out_of_fold(outputs, y_N, np.zeros(20), ROW_LOSS, TargetKind.CLASSIFICATION)
    assert torch.equal(calibrating_NC, outputs[best_point(outputs, y_N, ROW_LOSS)])


def test_logits_of_all_folds_have_the_scale_of_the_best_model():
    generator = torch.Generator().manual_seed(0)
    outputs, y_N = drawn(generator, 200, models=6)
    as_one = out_of_fold(outputs, y_N, np.arange(200) % 10, ROW_LOSS, TargetKind.CLASSIFICATION)
    scaled = {point: output * 1.3 ** (point[0] + 1) for point, output in outputs.items()}
    best = best_point(scaled, y_N, ROW_LOSS)
    calibrating_NC = out_of_fold(scaled, y_N, np.arange(200) % 10, ROW_LOSS, TargetKind.CLASSIFICATION)
    torch.testing.assert_close(calibrating_NC, as_one * 1.3 ** (best[0] + 1), rtol=1e-2, atol=1e-2)
