"""The finetune stage under attack, and the attacks in evaluate."""

from __future__ import annotations

from itertools import groupby

import pandas as pd
import pytest

from tasks.core.errors import ParamsError
from tasks.core.schema import Candidate, Curve
from tasks.objectives.losses.adversarial import Attack
from tests.errors import raises
from tests.stages.contract import evaluated, tuned
from tests.stages.objectives import begun, curve, methods


@pytest.mark.parametrize("objective", ["pgd", "fast", "trades"])
def test_adversarial_training_withstands_more(paths, objective):
    begun(paths, unlabeled=False)
    sections = methods(adversaries={"radius": 0.1, "beta": 1.0})
    report = tuned(paths, objective=objective, methods=sections, scratch=False, blocks=3, epochs=8)
    rows = curve(paths)
    assert report.more[Curve.CLEAN_SCORE] == pytest.approx(rows[Curve.CLEAN_SCORE].iloc[report.best_epoch])
    assert rows[Curve.VALIDATION_LOSS].min() < rows[Curve.VALIDATION_LOSS].iloc[0]


def test_a_radius_grows_with_the_epochs(paths, monkeypatch):
    begun(paths, unlabeled=False)
    radii = []
    attack = Attack.__call__
    monkeypatch.setattr(
        Attack, "__call__", lambda self, *arguments: radii.append(self.radius) or attack(self, *arguments)
    )
    tuned(paths, objective="pgd", methods=methods(adversaries={"radius": 0.2, "grow": 1}), scratch=False, epochs=2)
    assert [radius for radius, _ in groupby(radii)] == [0.2, 0.1, 0.2]  # validation always uses the full attack


def test_an_epoch_that_costs_too_much_without_an_attack_is_not_kept(paths):
    """With an absurd rate everything except the loss under attack gets worse; the initial weights are kept."""
    begun(paths, unlabeled=False)
    sections = methods(adversaries={"radius": 0.5, "clean": 0.0})
    report = tuned(paths, objective="pgd", methods=sections, scratch=False, rate=0.3, head_rate=0.3)
    rows = curve(paths)
    kept = rows.iloc[report.best_epoch]
    assert kept[Curve.CLEAN_SCORE] >= rows[Curve.CLEAN_SCORE].iloc[0]


def test_evaluation_attacks_the_probe_and_the_tuned_model(paths):
    begun(paths, unlabeled=False)
    tuned(paths, scratch=False)
    report = evaluated(paths, attacked=6)
    table = pd.read_csv(paths.attacks)
    assert set(table["model"]) == {Candidate.PROBE, Candidate.TUNED}
    accuracy_by_attack = table[table["model"] == Candidate.TUNED].set_index("attack")["accuracy"]
    order = ["none", "APGD-CE", "APGD-DLR", "DeepFool", "Square", "all of them"]
    assert list(accuracy_by_attack.index[:6]) == order
    assert accuracy_by_attack.loc[order].is_monotonic_decreasing
    assert report.scores["robust_accuracy"] == accuracy_by_attack["all of them"]


def test_mixup_is_refused_in_adversarial_training(paths):
    begun(paths, unlabeled=False)
    with raises(ParamsError, "finetune.mixup"):
        tuned(paths, objective="pgd", mixup=0.2)
