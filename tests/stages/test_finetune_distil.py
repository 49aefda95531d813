"""The finetune stage with a teacher, and the teacher's scores in evaluate."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from tasks.core.errors import ParamsError
from tasks.core.files import read_json
from tasks.core.schema import Candidate, Curve, Metric
from tasks.core.target import TargetSpec
from tasks.data.tables.copying import bring_together
from tasks.data.tables.options import TableOptions
from tasks.models.weights_file import read, write
from tasks.objectives.teacher import SPEC, check_teacher_classes
from tasks.scorer.answer import Scorer
from tests.drawn import write_discs
from tests.errors import raises
from tests.stages.contract import NOBODY, evaluated, through_head, tuned
from tests.stages.objectives import BACKBONE_AS_TEACHER, as_teacher, begun, curve, methods


def test_a_backbone_gets_a_head_and_teaches(paths):
    """Its outputs are cached: the second time, none is computed. Evaluation has a row for it."""
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
    """The teacher is the student's initial model except for a few steps, so nothing is left to learn."""
    begun(paths, unlabeled=False)
    tuned(paths, epochs=0, scratch=False), evaluated(paths)
    report = tuned(paths, objective="distillation", teacher=as_teacher(paths), scratch=False, epochs=3)
    assert (report.best_epoch, report.steps) == (0, 0)
    assert report.more[Curve.AGREEMENT] == 1


def test_the_map_for_matching_features_is_not_part_of_the_model(paths):
    begun(paths)
    write(paths.teacher, torch.load(paths.pretrained))
    sections = methods(distillation={"features": 1.0, "agreement": 1.0, "margin": 0.0})
    tuned(paths, objective="distillation", teacher=BACKBONE_AS_TEACHER, methods=sections, scratch=False)
    assert not any("auxiliary" in name for name in load_file(paths.tuned))


def test_targets_are_distilled_too(paths, tmp_path):
    table = write_discs(tmp_path / "discs")
    folder = bring_together(table, tmp_path / "together", TableOptions(targets=("radius", "x")))
    paths = paths.model_copy(update={"raw": folder})
    through_head(paths)
    write(paths.teacher, torch.load(paths.pretrained))
    report = tuned(paths, objective="distillation", teacher=BACKBONE_AS_TEACHER, scratch=False)
    losses = curve(paths)[Curve.VALIDATION_LOSS]
    assert losses.min() < losses.iloc[0]
    assert report.more[Curve.AGREEMENT] > curve(paths)[Curve.AGREEMENT].iloc[0]
    evaluated(paths, objective="distillation", teacher=BACKBONE_AS_TEACHER)
    assert Metric.SCALED_MAE in read_json(paths.metrics)[Candidate.TEACHER]


@pytest.mark.parametrize(
    ("teacher", "key"),
    [(NOBODY, "teacher.weights"), ({**NOBODY, "weights": "x.pth"}, "teacher.architecture")],
)
def test_a_missing_teacher_or_architecture_is_an_error(paths, teacher, key):
    begun(paths, unlabeled=False)
    if teacher["weights"]:
        write(paths.teacher, torch.load(paths.pretrained))
    with raises(ParamsError, key):
        tuned(paths, objective="distillation", teacher=teacher)


def test_a_teacher_of_other_classes_is_refused(paths):
    begun(paths, unlabeled=False)
    tuned(paths, epochs=0, scratch=False), evaluated(paths)
    teacher_params = as_teacher(paths)
    state, description = read(paths.teacher)
    description[SPEC]["classes"] = ["bar", "disc", "square"]
    write(paths.teacher, state, description)
    with raises(ParamsError, "teacher.weights") as caught:
        tuned(paths, objective="distillation", teacher=teacher_params)
    assert "bar, disc, square" in str(caught.value)
    assert "bar, disc, ring" in str(caught.value)
    with raises(ParamsError, "teacher.weights"):
        check_teacher_classes(paths.teacher, TargetSpec.load(paths.task))


def test_a_distilled_model_is_served_like_any_other(paths):
    begun(paths)
    write(paths.teacher, torch.load(paths.pretrained))
    tuned(paths, objective="distillation", teacher=BACKBONE_AS_TEACHER, scratch=False)
    evaluated(paths, objective="distillation", teacher=BACKBONE_AS_TEACHER)
    scorer = Scorer.load(paths.spec, paths.tuned)
    picture = next((paths.raw / "test").rglob("*.png")).read_bytes()
    assert scorer.probabilities([picture]).shape == (1, 3)
