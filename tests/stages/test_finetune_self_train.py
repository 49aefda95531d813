"""The finetune stage with labels from its own predictions: pseudo-labels and FixMatch."""

from __future__ import annotations

import sys

import pytest
import torch

from tasks.core.errors import DataRefusedError, ParamsError
from tasks.core.objective_sections import ObjectiveParams, UnlabeledSection
from tasks.core.schema import Balance, Curve, Split
from tasks.core.sections import FinetuneSection
from tasks.models.networks import probe_network
from tasks.models.weights_file import read, write
from tasks.objectives import self_train
from tasks.objectives.losses.fixmatch import FixMatch
from tasks.objectives.plans import plan_on_labels
from tasks.objectives.self_train import first_predictions, mixed_batches, pseudo_label
from tasks.training.batches import Batches
from tasks.training.losses.cross_entropy import cross_entropy
from tasks.training.types import Batch
from tests.errors import raises
from tests.stages.contract import FINETUNE, METHODS, NOBODY, evaluated, through_head, tuned
from tests.stages.objectives import add_unlabeled, as_teacher, begun, context_of, curve, methods


@pytest.mark.parametrize(("neighbors", "search"), [(0, "exact"), (3, "exact"), (3, "index")])
def test_pseudo_labels_are_accepted_and_audited(paths, neighbors, search):
    begun(paths)
    section = {"threshold": 0.0, "precision": 0.1, "neighbours": neighbors, "search": search}
    report = tuned(paths, objective="pseudo_labels", methods=methods(unlabelled=section))
    assert report.more["pseudo_labels"] == 9
    quota = methods(unlabelled={**section, "quota": 1})
    assert tuned(paths, objective="pseudo_labels", methods=quota).more["pseudo_labels"] <= 3


def test_an_index_that_is_not_installed_is_refused_before_anything_is_read(paths, monkeypatch):
    monkeypatch.setitem(sys.modules, "voyager", None)
    with raises(ParamsError, "neighbors-not-installed"):
        tuned(paths, objective="pseudo_labels", methods=methods(unlabelled={"neighbours": 3, "search": "index"}))


def test_a_second_round_is_labeled_by_the_tuned_network_and_extends_the_curve(paths, capsys):
    begun(paths)
    sections = methods(unlabelled={"threshold": 0.0, "precision": 0.1, "rounds": 2})
    report = tuned(paths, objective="pseudo_labels", methods=sections, scratch=False)
    assert curve(paths)[Curve.EPOCH].tolist() == [0, 1, 2, 3, 3, 4, 5, 6]
    last = curve(paths).iloc[4:]
    kept = last[last[Curve.EPOCH] == report.best_epoch]
    assert kept[Curve.VALIDATION_SCORE].tolist() == pytest.approx([report.validation_score])
    assert curve(paths)[Curve.STEP].is_monotonic_increasing
    assert capsys.readouterr().out.count("100% 3 of 3 epochs fine-tuned") == 2


@pytest.mark.parametrize("objective", ["pseudo_labels", "fixmatch"])
@pytest.mark.parametrize("section", [{"threshold": 0.0, "precision": 1.0}, {"threshold": 0.9999, "precision": 0.5}])
def test_predictions_that_fail_the_audit_are_refused(paths, objective, section):
    """The predictions are wrong too often, or none is accepted."""
    begun(paths)
    with raises(DataRefusedError, "unlabelled.threshold" if section["threshold"] else "unlabelled.precision"):
        tuned(paths, objective=objective, methods=methods(unlabelled=section))


@pytest.mark.parametrize(("adaptive", "align"), [(False, False), (True, False), (True, True)])
def test_fixmatch_learns_and_reports_its_precision(paths, adaptive, align):
    begun(paths)
    changes = {"threshold": 0.2, "precision": 0.0, "adaptive": adaptive, "align": align, "strong": "trivial"}
    sections = methods(unlabelled=changes)
    report = tuned(paths, objective="fixmatch", methods=sections, scratch=False)
    assert report.steps == 9  # three epochs of three batches, since there are more labeled images
    assert "audited_precision" in report.more


def test_nearest_neighbors_depend_on_features_and_not_on_the_head(paths):
    """This holds for a teacher as well: with a zeroed head, it gives the same labels as its source network."""
    begun(paths)
    tuned(paths, epochs=0, scratch=False), evaluated(paths)
    teacher, context = as_teacher(paths), context_of(paths)
    state, description = read(paths.teacher)
    write(paths.teacher, {n: t * (0 if n.startswith("head") else 1) for n, t in state.items()}, description)
    network = probe_network(context.fresh_backbone(), paths.head_weights, context.data.target.num_outputs)
    exact, index = (methods(unlabelled={"neighbours": 3, "search": search}) for search in ("exact", "index"))
    by_network, by_teacher, in_index = (
        first_predictions(context, ObjectiveParams(**asked, objective="pseudo_labels", teacher=who), network)
        for asked, who in ((exact, NOBODY), (exact, teacher), (index, NOBODY))
    )
    torch.testing.assert_close(by_teacher, by_network)
    torch.testing.assert_close(in_index, by_network)  # among so few images, the index overlooks none
    assert len(by_network) == context.trainer.validation.num_images + 9


def test_predictions_are_aligned_before_each_epoch_if_enabled(paths, monkeypatch):
    begun(paths)
    align, shares = FixMatch.align, []
    monkeypatch.setattr(
        FixMatch, "align", lambda self, logits, prior: shares.append(prior) or align(self, logits, prior)
    )
    for is_aligned in (False, True):
        changes = {"threshold": 0.2, "precision": 0.0, "align": is_aligned}
        tuned(paths, objective="fixmatch", methods=methods(unlabelled=changes), scratch=False, epochs=2)
        assert len(shares) == (3 if is_aligned else 0)  # before each of two epochs, and for the last audit
    assert torch.stack(shares) == pytest.approx(torch.full((3, 3), 1 / 3))


def test_the_smaller_set_of_images_repeats_with_other_views(paths):
    """This applies even within an epoch: 18 labeled and 40 unlabeled images, in batches with 4 of each."""
    add_unlabeled(paths, 40)
    through_head(paths)
    both = mixed_batches(context_of(paths), UnlabeledSection(**METHODS["unlabelled"]), strong=True)
    batches = list(both.epoch(0))
    assert len(batches) == len(both) == 10
    labeled = [batch.inputs[batch.target >= 0][:, :3] for batch in batches]
    assert sum(map(len, labeled)) == 40
    assert len(torch.cat(labeled).flatten(1).unique(dim=0)) == 40  # three views of 18 images, none used twice
    assert sum(int((batch.target < 0).sum()) for batch in batches) == 40
    x, y = batches[0].inputs, batches[0].target
    assert x.shape[1] == 6
    assert not torch.equal(x[y < 0][:, :3], x[y < 0][:, 3:])


def test_labeled_and_unlabeled_images_are_shuffled_separately(paths, monkeypatch):
    """Both sets have the same size and sorting: in a shared order, each image would always meet its own class."""
    add_unlabeled(paths, 18)
    through_head(paths)
    both = mixed_batches(context_of(paths), UnlabeledSection(**METHODS["unlabelled"]), strong=False)
    orders, order = [], Batches.order
    monkeypatch.setattr(Batches, "order", lambda *arguments: orders.append(order(*arguments)) or orders[-1])
    list(both.epoch(0))
    labeled, other = orders
    assert len(labeled) == len(other) == 18
    assert (labeled == other).mean() < 0.5


def test_strong_views_are_drawn_independently_of_weak_ones(paths):
    begun(paths)
    data = context_of(paths).data
    rows = data.rows(Split.UNLABELED)
    weak, strong = (data.views(rows, policy).draw(torch.arange(len(rows)), 1) for policy in (None, data.policy))
    assert weak.shape == strong.shape
    assert not (weak == strong).all(1).any()


@pytest.mark.parametrize("balance", [Balance.WEIGHTS, Balance.LOGITS])
def test_classes_are_balanced_including_pseudo_labels(paths, balance, monkeypatch):
    """Eight of nine unlabeled images are predicted as bars."""
    begun(paths)
    context = context_of(paths, balance)
    network, base = plan_on_labels(context, FinetuneSection(**{**FINETUNE, "smoothing": 0.1}))
    sure = torch.eye(3)[[0] * 8 + [1]] * 20
    right = torch.eye(3)[context.data.encode(context.data.rows(Split.VALIDATION))] * 20
    monkeypatch.setattr(self_train, "first_predictions", lambda *_: torch.cat([right, sure]))
    asked = ObjectiveParams(**methods(unlabelled={"precision": 0.1}), objective="pseudo_labels", teacher=NOBODY)
    trainer, plan = pseudo_label(context, asked, network, base)
    mass = torch.zeros(3)
    for batch in trainer.train.clean():
        ones = torch.ones(len(batch.target))
        mass.scatter_add_(0, batch.target, ones if batch.weight is None else batch.weight.float())
    batch = Batch(torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1]))
    loss = plan.loss(lambda x: x, batch)
    if balance is Balance.WEIGHTS:
        assert mass.tolist() == pytest.approx([9.0] * 3)
        expected = cross_entropy(0.1, None)(lambda x: x, batch)
    else:
        assert mass.tolist() == [14, 7, 6]
        expected = cross_entropy(0.1, (torch.tensor([14, 7, 6]) / 27).log())(lambda x: x, batch)
    torch.testing.assert_close(loss, expected)
