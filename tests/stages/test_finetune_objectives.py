"""The stage finetune under each objective, on drawn pictures with a tiny backbone; and how evaluate tells of it."""

from __future__ import annotations

from itertools import groupby

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from tasks.core.errors import DataRefusedError, ParamsError
from tasks.core.files import read_json
from tasks.core.schema import Balance, Candidate, Curve, Metric, Split
from tasks.core.sections import BackboneParams, ComputeParams, Methods
from tasks.data.tables import bring_together
from tasks.hardware import machine_cache as remembered
from tasks.models.networks import probe_network
from tasks.models.weights_file import read, write
from tasks.objectives import self_train as self_training
from tasks.objectives.context import prepare
from tasks.objectives.finetuning import lesson_on_labels
from tasks.objectives.losses.adversarial import Attack
from tasks.objectives.losses.fixmatch import FixMatch
from tasks.objectives.self_train import first_answers, mixed, pseudo_label
from tasks.objectives.teacher import SPEC, refuse_other_classes
from tasks.scorer.scorer import Scorer
from tasks.training.batches import Batches
from tasks.training.calibrated_loss import refined
from tasks.training.loop import score
from tasks.training.losses.cross_entropy import cross_entropy
from tasks.training.measures import measure_classes
from tests.conftest import CPU, TINY
from tests.drawn import SHAPES, drawn, write_discs
from tests.stages.test_stages import (
    BACKBONE,
    FINETUNE,
    METHODS,
    NOBODY,
    _pinned,  # noqa: F401 - a fixture that is in force here too
    augmented,
    embedded,
    evaluated,
    headed,
    ingested,
    tuned,
)


def with_unlabelled(paths, count=9):
    """More pictures, whose labels nobody tells."""
    folder = paths.raw / "unlabelled"
    folder.mkdir()
    for place in range(count):
        drawn(SHAPES[place % 3], 9000 + place).save(folder / f"{place}.png")


def begun(paths, unlabelled=True):
    if unlabelled:
        with_unlabelled(paths)
    ingested(paths), augmented(paths), embedded(paths), headed(paths)


def curve(paths, candidate=Candidate.TUNED):
    rows = pd.read_json(paths.curves, lines=True)
    return rows[rows[Curve.CANDIDATE] == candidate]


def settled(paths, balance=Balance.NONE):
    shared = (BackboneParams(**BACKBONE), ComputeParams(**CPU), 4, (2, "blocks"))
    return prepare(paths, *shared, balance=balance, key="a test")


def methods(**changes):
    return {name: {**section, **changes.get(name, {})} for name, section in METHODS.items()}


BACKBONE_AS_TEACHER = {**NOBODY, "architecture": TINY["architecture"], "weights": "tiny.pth", "resize": 32, "crop": 32}


def as_teacher(paths):
    """The tuned model as a teacher's file."""
    write(paths.teacher, read(paths.tuned)[0], {SPEC: read_json(paths.spec)})
    return {**NOBODY, "weights": "models:/rootstock@live"}


def test_a_backbone_gets_a_head_and_teaches(paths):
    """Its answers are kept: the second time none is computed. Evaluation has a row for it."""
    begun(paths)
    write(paths.teacher, torch.load(paths.pretrained))
    report = tuned(paths, objective="distillation", teacher=BACKBONE_AS_TEACHER, scratch=False)
    assert {Curve.AGREEMENT, Curve.TEACHER_SCORE} <= set(curve(paths).columns)
    assert report.more[Curve.AGREEMENT] == pytest.approx(curve(paths)[Curve.AGREEMENT].iloc[report.best_epoch])
    first, shards = load_file(paths.tuned), sorted(paths.feature_store.rglob("*.safetensors"))
    tuned(paths, objective="distillation", teacher=BACKBONE_AS_TEACHER, scratch=False)
    assert sorted(paths.feature_store.rglob("*.safetensors")) == shards
    assert all(torch.equal(tensor, first[name]) for name, tensor in load_file(paths.tuned).items())
    evaluated(paths, objective="distillation", teacher=BACKBONE_AS_TEACHER)
    table = read_json(paths.metrics)
    assert table[Candidate.TEACHER][Metric.AGREEMENT]["value"] == 1
    assert 0 <= table[Candidate.TUNED][Metric.AGREEMENT]["value"] <= 1


def test_a_student_stops_when_it_is_as_good_as_its_teacher(paths):
    """The teacher is the model that it starts from in all but a few steps: nothing is left to learn."""
    begun(paths, unlabelled=False)
    tuned(paths, epochs=0, scratch=False), evaluated(paths)
    report = tuned(paths, objective="distillation", teacher=as_teacher(paths), scratch=False, epochs=3)
    assert (report.best_epoch, report.steps) == (0, 0)
    assert report.more[Curve.AGREEMENT] == 1


def test_matched_features_leave_their_map_behind(paths):
    begun(paths)
    write(paths.teacher, torch.load(paths.pretrained))
    wanted = methods(distillation={"features": 1.0, "agreement": 1.0, "margin": 0.0})
    tuned(paths, objective="distillation", teacher=BACKBONE_AS_TEACHER, methods=wanted, scratch=False)
    assert not any("helper" in name for name in load_file(paths.tuned))


def test_targets_are_distilled_too(paths, tmp_path):
    table = write_discs(tmp_path / "discs")
    folder = bring_together(table, tmp_path / "together", ["radius", "x"])
    paths = paths.model_copy(update={"raw": folder})
    ingested(paths), augmented(paths), embedded(paths), headed(paths)
    write(paths.teacher, torch.load(paths.pretrained))
    report = tuned(paths, objective="distillation", teacher=BACKBONE_AS_TEACHER, scratch=False)
    losses = curve(paths)[Curve.VALIDATION_LOSS]
    assert losses.min() < losses.iloc[0]
    assert report.more[Curve.AGREEMENT] > curve(paths)[Curve.AGREEMENT].iloc[0]
    evaluated(paths, objective="distillation", teacher=BACKBONE_AS_TEACHER)
    assert Metric.MAE in read_json(paths.metrics)[Candidate.TEACHER]


@pytest.mark.parametrize(
    ("teacher", "message"),
    [(NOBODY, "there is no teacher"), ({**NOBODY, "weights": "x.pth"}, r"teacher\.architecture: these weights do not")],
)
def test_a_teacher_that_is_missing_or_unknown_is_told(paths, teacher, message):
    begun(paths, unlabelled=False)
    if teacher["weights"]:
        write(paths.teacher, torch.load(paths.pretrained))
    with pytest.raises(ParamsError, match=message):
        tuned(paths, objective="distillation", teacher=teacher)


def test_a_teacher_of_other_classes_is_refused(paths):
    begun(paths, unlabelled=False)
    tuned(paths, epochs=0, scratch=False), evaluated(paths)
    wanted = as_teacher(paths)
    state, description = read(paths.teacher)
    description[SPEC]["classes"] = ["bar", "disc", "square"]
    write(paths.teacher, state, description)
    told = "answers bar, disc, square, but the data asks for bar, disc, ring"
    with pytest.raises(ParamsError, match=told):
        tuned(paths, objective="distillation", teacher=wanted)
    with pytest.raises(ParamsError, match=told):
        refuse_other_classes(paths.teacher, pd.read_parquet(paths.manifest))


@pytest.mark.parametrize("neighbours", [0, 3])
def test_pseudo_labels_are_accepted_and_audited(paths, neighbours):
    begun(paths)
    wanted = {"threshold": 0.0, "precision": 0.1, "neighbours": neighbours}
    report = tuned(paths, objective="pseudo_labels", methods=methods(unlabelled=wanted))
    assert report.more["pseudo_labels"] == 9
    quota = methods(unlabelled={**wanted, "quota": 1})
    assert tuned(paths, objective="pseudo_labels", methods=quota).more["pseudo_labels"] <= 3


def test_a_second_round_is_labelled_by_what_learned_and_goes_on_in_the_curve(paths, capsys):
    begun(paths)
    wanted = methods(unlabelled={"threshold": 0.0, "precision": 0.1, "rounds": 2})
    report = tuned(paths, objective="pseudo_labels", methods=wanted, scratch=False)
    assert curve(paths)[Curve.EPOCH].tolist() == [0, 1, 2, 3, 3, 4, 5, 6]
    last = curve(paths).iloc[4:]
    kept = last[last[Curve.EPOCH] == report.best_epoch]
    assert kept[Curve.VALIDATION_SCORE].tolist() == pytest.approx([report.validation_score])
    assert curve(paths)[Curve.STEP].is_monotonic_increasing
    assert capsys.readouterr().out.count("100% 3 of 3 epochs fine-tuned") == 2


@pytest.mark.parametrize("objective", ["pseudo_labels", "fixmatch"])
@pytest.mark.parametrize("unlabelled", [{"threshold": 0.0, "precision": 1.0}, {"threshold": 0.9999, "precision": 0.5}])
def test_answers_that_fail_the_audit_are_refused(paths, objective, unlabelled):
    """They are wrong too often, or none of them is trusted."""
    begun(paths)
    told = r"is trusted.*lower unlabelled\.threshold" if unlabelled["threshold"] else r"0%.*raise unlabelled\.threshold"
    with pytest.raises(DataRefusedError, match=told):
        tuned(paths, objective=objective, methods=methods(unlabelled=unlabelled))


@pytest.mark.parametrize(("adaptive", "align"), [(False, False), (True, False), (True, True)])
def test_fixmatch_learns_and_tells_its_precision(paths, adaptive, align):
    begun(paths)
    changes = {"threshold": 0.2, "precision": 0.0, "adaptive": adaptive, "align": align, "strong": "trivial"}
    wanted = methods(unlabelled=changes)
    report = tuned(paths, objective="fixmatch", methods=wanted, scratch=False)
    assert report.steps == 9  # three epochs of three batches: the labelled pictures are more
    assert "audited_precision" in report.more


@pytest.mark.parametrize("objective", ["coral", "dann", "mcc"])
def test_adaptation_is_chosen_without_the_targets_labels(paths, objective):
    """The loss that decides is the validator's; the test images' labels fill columns of the report alone."""
    begun(paths)
    wanted = methods(domain={"weights": [0.1, 1.0], "oracle": True})
    report = tuned(paths, objective=objective, methods=wanted, scratch=False)
    rows = curve(paths)
    assert report.best_epoch == rows[Curve.EPOCH].iloc[rows[Curve.VALIDATION_LOSS].argmin()]
    assert report.more["weight"] in {0.1, 1.0}
    assert report.more["oracle_score"] == pytest.approx(rows[Curve.TARGET_SCORE].max())
    assert report.more["oracle_score"] >= report.more[Curve.TARGET_SCORE]
    blind = tuned(paths, objective=objective, methods=methods(domain={"weights": [0.1, 1.0]}), scratch=False)
    assert (blind.best_epoch, blind.more["weight"]) == (report.best_epoch, report.more["weight"])
    assert not any("helper" in name for name in load_file(paths.tuned))


def test_batchnorm_is_re_estimated_on_the_target(paths):
    """That of the blocks that learned theirs, and of nothing else; the start learned none."""
    begun(paths)
    how = {"scratch": False, "batchnorm": "training", "blocks": 2, "epochs": 6, "rate": 0.01}
    report = tuned(paths, objective="batchnorm", **how)
    assert report.best_epoch > 0
    came, now = torch.load(paths.pretrained), load_file(paths.tuned)
    names = [name for name in came if f"backbone.{name}" in now]
    moved = {name for name in names if not torch.equal(came[name].float(), now[f"backbone.{name}"].float())}
    assert {name.split(".")[0] for name in moved} == {"conv5", "stage4"}
    seen = [now[f"backbone.{name}"] for name in moved if name.endswith("num_batches_tracked")]
    assert len(seen) == report.more["batchnorm_layers"]
    assert set(map(int, seen)) == {len(settled(paths).batches(settled(paths).rows(Split.UNLABELLED)))}


def test_statistics_that_no_block_learned_are_not_re_estimated(paths):
    begun(paths)
    with pytest.raises(ValueError, match=r"set finetune\.batchnorm to training"):
        tuned(paths, objective="batchnorm", scratch=False)
    with pytest.raises(ParamsError, match=r"raise finetune\.blocks"):
        tuned(paths, objective="batchnorm", scratch=False, batchnorm="training", blocks=0)


@pytest.mark.parametrize("objective", ["pgd", "fast", "trades"])
def test_adversarial_training_withstands_more(paths, objective):
    begun(paths, unlabelled=False)
    wanted = methods(adversaries={"radius": 0.1, "beta": 1.0})
    report = tuned(paths, objective=objective, methods=wanted, scratch=False, blocks=3, epochs=8)
    rows = curve(paths)
    assert report.more[Curve.CLEAN_SCORE] == pytest.approx(rows[Curve.CLEAN_SCORE].iloc[report.best_epoch])
    assert rows[Curve.VALIDATION_LOSS].min() < rows[Curve.VALIDATION_LOSS].iloc[0]


def test_a_radius_grows_with_the_epochs(paths, monkeypatch):
    begun(paths, unlabelled=False)
    radii = []
    attack = Attack.__call__
    monkeypatch.setattr(Attack, "__call__", lambda self, *given: radii.append(self.radius) or attack(self, *given))
    tuned(paths, objective="pgd", methods=methods(adversaries={"radius": 0.2, "grow": 1}), scratch=False, epochs=2)
    assert [radius for radius, _ in groupby(radii)] == [0.2, 0.1, 0.2]  # validation is always under the whole of it


def test_an_epoch_that_costs_too_much_without_an_attack_is_not_kept(paths):
    """With an absurd rate everything gets worse but the loss under attack; the start is kept."""
    begun(paths, unlabelled=False)
    wanted = methods(adversaries={"radius": 0.5, "clean": 0.0})
    report = tuned(paths, objective="pgd", methods=wanted, scratch=False, rate=0.3, head_rate=0.3)
    rows = curve(paths)
    kept = rows.iloc[report.best_epoch]
    assert kept[Curve.CLEAN_SCORE] >= rows[Curve.CLEAN_SCORE].iloc[0]


def test_evaluation_attacks_the_probe_and_the_tuned_model(paths):
    begun(paths, unlabelled=False)
    tuned(paths, scratch=False)
    report = evaluated(paths, attacked=6)
    table = pd.read_csv(paths.attacks)
    assert set(table["model"]) == {Candidate.PROBE, Candidate.TUNED}
    own = table[table["model"] == Candidate.TUNED].set_index("attack")["accuracy"]
    order = ["none", "APGD-CE", "APGD-DLR", "DeepFool", "Square", "all of them"]
    assert list(own.index[:6]) == order
    assert own.loc[order].is_monotonic_decreasing
    assert report.scores["robust_accuracy"] == own["all of them"]


@pytest.mark.parametrize(
    ("objective", "message"),
    [("fixmatch", "no meaning for targets"), ("mcc", "no meaning for targets"), ("trades", "no meaning for targets")],
)
def test_what_has_no_meaning_for_targets_is_told(paths, tmp_path, objective, message):
    folder = bring_together(write_discs(tmp_path / "discs"), tmp_path / "together", ["radius"])
    paths = paths.model_copy(update={"raw": folder})
    ingested(paths), augmented(paths), embedded(paths), headed(paths)
    with pytest.raises(ParamsError, match=message):
        tuned(paths, objective=objective)


@pytest.mark.parametrize("objective", ["fixmatch", "coral", "batchnorm", "pseudo_labels"])
def test_unlabelled_images_that_are_missing_are_told(paths, objective):
    begun(paths, unlabelled=False)
    with pytest.raises(ParamsError, match="there are none; put them below unlabelled/"):
        tuned(paths, objective=objective, batchnorm="training")


def test_mixed_pictures_are_refused(paths):
    begun(paths, unlabelled=False)
    with pytest.raises(ParamsError, match=r"finetune\.mixup"):
        tuned(paths, objective="pgd", mixup=0.2)


def test_a_distilled_model_is_served_like_any_other(paths):
    begun(paths)
    write(paths.teacher, torch.load(paths.pretrained))
    tuned(paths, objective="distillation", teacher=BACKBONE_AS_TEACHER, scratch=False)
    evaluated(paths, objective="distillation", teacher=BACKBONE_AS_TEACHER)
    scorer = Scorer.load(paths.spec, paths.tuned)
    picture = next((paths.raw / "test").rglob("*.png")).read_bytes()
    assert scorer.probabilities([picture]).shape == (1, 3)


class Killed(Exception):  # noqa: N818
    pass


@pytest.mark.parametrize(
    ("objective", "changes", "last"),
    [
        ("distillation", {"distillation": {"features": 1.0, "agreement": 1.0}}, 2),
        ("pseudo_labels", {"unlabelled": {"threshold": 0.0, "precision": 0.1, "rounds": 2}}, 3),
        ("pseudo_labels", {"unlabelled": {"threshold": 0.0, "precision": 0.1, "rounds": 2, "neighbours": 3}}, 6),
        ("fixmatch", {"unlabelled": {"threshold": 0.2, "precision": 0.0, "adaptive": True, "align": True}}, 3),
        ("dann", {}, 2),
        ("dann", {"domain": {"weights": [0.1, 1.0]}}, 7),
        ("trades", {"adversaries": {"grow": 2}}, 3),
    ],
)
def test_a_killed_run_ends_with_the_same_weights_under_every_objective(paths, monkeypatch, objective, changes, last):
    """What learns beside the network, thresholds, rounds and attacks included: bit by bit."""
    begun(paths)
    write(paths.teacher, torch.load(paths.pretrained))
    teacher = BACKBONE_AS_TEACHER if objective == "distillation" else NOBODY
    wanted = {"objective": objective, "teacher": teacher, "methods": methods(**changes), "scratch": False}
    tuned(paths, **wanted)
    undisturbed, rows = load_file(paths.tuned), curve(paths)

    said = []

    def die(line):
        said.append(line)
        if len([each for each in said if " epochs " in each]) == last:
            raise Killed

    monkeypatch.setattr("tasks.training.trainer.SAVE_SECONDS", 0.0)
    with monkeypatch.context() as patched:
        patched.setattr("tasks.training.trainer.say", die)
        with pytest.raises(Killed):
            tuned(paths, **wanted)
    assert list(paths.checkpoints.rglob("*.safetensors"))
    tuned(paths, **wanted)
    pd.testing.assert_frame_equal(curve(paths), rows)
    for name, tensor in load_file(paths.tuned).items():
        assert torch.equal(tensor, undisturbed[name]), name


@pytest.mark.slow  # a C++ compiler works for some minutes
def test_a_compiled_fit_learns_the_same_and_a_killed_one_ends_with_the_same_weights(paths, monkeypatch, tmp_path):
    """Batches of two sizes, and a block more in the second epoch; then compiled anew by the run that goes on."""
    monkeypatch.setattr(remembered, "user_cache_path", lambda _name: tmp_path / "cache")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    begun(paths, unlabelled=False)
    wanted = {"scratch": False, "blocks": 2, "unfreeze": 1}
    tuned(paths, **wanted)
    plain, rows = load_file(paths.tuned), curve(paths)
    tuned(paths, compile=True, **wanted)
    undisturbed, compiled_rows = load_file(paths.tuned), curve(paths)
    pd.testing.assert_frame_equal(compiled_rows, rows, rtol=1e-3)
    assert not compiled_rows.equals(rows)
    for name, tensor in plain.items():
        torch.testing.assert_close(undisturbed[name], tensor, rtol=1e-2, atol=1e-3)

    def die(line):
        if " 2 of 3 epochs " in line:
            raise Killed

    monkeypatch.setattr("tasks.training.trainer.SAVE_SECONDS", 0.0)
    with monkeypatch.context() as patched:
        patched.setattr("tasks.training.trainer.say", die)
        with pytest.raises(Killed):
            tuned(paths, compile=True, **wanted)
    assert list(paths.checkpoints.rglob("*.safetensors"))
    tuned(paths, compile=True, **wanted)
    pd.testing.assert_frame_equal(curve(paths), compiled_rows)
    for name, tensor in load_file(paths.tuned).items():
        assert torch.equal(tensor, undisturbed[name]), name


@pytest.mark.parametrize("objective", ["labels", "pseudo_labels", "fixmatch"])
def test_an_epoch_is_chosen_by_its_loss_at_the_best_temperature(paths, objective, capsys):
    """The frozen blocks are computed once for validation too, where a fit has no views that are made in it."""
    begun(paths)
    wanted = methods(unlabelled={"threshold": 0.0, "precision": 0.0, "rounds": 1})
    tuned(paths, objective=objective, methods=wanted, scratch=False)
    chosen_by, setting = curve(paths)[Curve.VALIDATION_LOSS].iloc[0], settled(paths)
    bench, network = setting.bench, probe_network(setting.fresh(), paths.head_weights, setting.bench.goal.outputs)
    loss, _ = score(network, bench.validation.clean(), bench.device, refined(measure_classes))
    assert chosen_by == pytest.approx(loss, rel=1e-4)
    assert loss < 0.9 * score(network, bench.validation.clean(), bench.device, measure_classes)[0]
    assert ("frozen blocks computed for" in capsys.readouterr().out) == (objective != "fixmatch")


def test_neighbours_are_told_apart_by_features_and_never_by_the_head(paths):
    """Of a teacher too: with a head that answers nothing it gives the same labels as the network it was made from."""
    begun(paths)
    tuned(paths, epochs=0, scratch=False), evaluated(paths)
    teacher, setting = as_teacher(paths), settled(paths)
    state, description = read(paths.teacher)
    write(paths.teacher, {n: t * (0 if n.startswith("head") else 1) for n, t in state.items()}, description)
    network = probe_network(setting.fresh(), paths.head_weights, setting.bench.goal.outputs)
    asked = methods(unlabelled={"neighbours": 3})
    by_own, by_teacher = (
        first_answers(setting, Methods(**asked, objective="pseudo_labels", teacher=who), network)
        for who in (NOBODY, teacher)
    )
    torch.testing.assert_close(by_teacher, by_own)
    assert len(by_own) == setting.bench.validation.pictures + 9


def test_answers_are_aligned_before_each_epoch_where_that_is_wanted(paths, monkeypatch):
    begun(paths)
    align, shares = FixMatch.align, []
    monkeypatch.setattr(
        FixMatch, "align", lambda self, logits, prior: shares.append(prior) or align(self, logits, prior)
    )
    for wanted in (False, True):
        changes = {"threshold": 0.2, "precision": 0.0, "align": wanted}
        tuned(paths, objective="fixmatch", methods=methods(unlabelled=changes), scratch=False, epochs=2)
        assert len(shares) == (3 if wanted else 0)  # before two epochs, and for the last audit
    assert torch.stack(shares) == pytest.approx(torch.full((3, 3), 1 / 3))


def test_fewer_pictures_come_again_as_another_view_of_them(paths):
    """Within an epoch too: 18 labelled pictures beside 40 unlabelled ones, a batch of 4 of each."""
    with_unlabelled(paths, 40)
    ingested(paths), augmented(paths), embedded(paths), headed(paths)
    both = mixed(settled(paths), Methods(**METHODS, objective="fixmatch", teacher=NOBODY), strong=True)
    batches = list(both.epoch(0))
    assert len(batches) == len(both) == 10
    known = [x[(y >= 0)][:, :3] for x, y in batches]
    assert sum(map(len, known)) == 40
    assert len(torch.cat(known).flatten(1).unique(dim=0)) == 40  # three views of 18 pictures, none of them twice
    assert sum(int((y < 0).sum()) for _, y in batches) == 40
    x, y = batches[0]
    assert x.shape[1] == 6
    assert not torch.equal(x[y < 0][:, :3], x[y < 0][:, 3:])


def test_labelled_and_unlabelled_pictures_come_in_orders_of_their_own(paths, monkeypatch):
    """As many of either, sorted alike: in one order each would always meet its own class."""
    with_unlabelled(paths, 18)
    ingested(paths), augmented(paths), embedded(paths), headed(paths)
    both = mixed(settled(paths), Methods(**METHODS, objective="coral", teacher=NOBODY), strong=False)
    orders, order = [], Batches.order
    monkeypatch.setattr(Batches, "order", lambda *given: orders.append(order(*given)) or orders[-1])
    list(both.epoch(0))
    known, other = orders
    assert len(known) == len(other) == 18
    assert (known == other).mean() < 0.5


def test_strong_views_are_drawn_apart_from_weak_ones(paths):
    begun(paths)
    setting = settled(paths)
    weak, strong = (setting.draws(setting.rows(Split.UNLABELLED), policy) for policy in (None, dict(setting.policy)))
    assert weak.shape == strong.shape
    assert not (weak == strong).all(2).any()


@pytest.mark.parametrize("balance", [Balance.WEIGHTS, Balance.LOGITS])
def test_classes_are_balanced_with_the_pseudo_labels_among_them(paths, balance, monkeypatch):
    """Eight of nine unlabelled pictures are taken for bars."""
    begun(paths)
    setting = settled(paths, balance)
    network, base = lesson_on_labels(setting, {**FINETUNE, "smoothing": 0.1})
    sure = torch.eye(3)[[0] * 8 + [1]] * 20
    known = torch.eye(3)[setting.bench.goal.truth(setting.rows(Split.VALIDATION))] * 20
    monkeypatch.setattr(self_training, "first_answers", lambda *_: torch.cat([known, sure]))
    asked = Methods(**methods(unlabelled={"precision": 0.1}), objective="pseudo_labels", teacher=NOBODY)
    bench, lesson = pseudo_label(setting, asked, network, base)
    mass = torch.zeros(3)
    for _, y, *weights in bench.train.clean():
        mass.scatter_add_(0, y, weights[0].float() if weights else torch.ones(len(y)))
    logits, y = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])
    loss = lesson.objective(lambda x: x, logits, y)
    if balance is Balance.WEIGHTS:
        assert mass.tolist() == pytest.approx([9.0] * 3)
        expected = cross_entropy(0.1, None)(lambda x: x, logits, y)
    else:
        assert mass.tolist() == [14, 7, 6]
        expected = cross_entropy(0.1, (torch.tensor([14, 7, 6]) / 27).log())(lambda x: x, logits, y)
    torch.testing.assert_close(loss, expected)
