"""Evaluate: the article's question on the test split, from scratch, frozen + head, or fine-tuned."""

from __future__ import annotations

from tasks.core.params import INIT, PINS, Section, StageParams
from tasks.core.paths import Paths
from tasks.core.sections import (
    AdversariesSection,
    BackboneParams,
    ComputeParams,
    EvaluateSection,
    Objective,
    TeacherParams,
)


class EvaluateParams(StageParams):
    """What evaluate reads of params.yaml."""

    seed: int
    objective: Objective
    backbone: BackboneParams
    teacher: TeacherParams
    compute: ComputeParams
    adversaries: AdversariesSection
    evaluate: EvaluateSection


class EvaluateReport(Section):
    """How many test images, and the fine-tuned model's scores on them by name."""

    images: int
    scores: dict[str, float]


def evaluate(paths: Paths, params: EvaluateParams) -> EvaluateReport:
    """Writes the scorer's spec, predictions, metrics with intervals, tables and pictures."""
    import pandas as pd
    import torchvision  # noqa: F401 - imported here, so that its two seconds are not the stage's own

    from tasks.core.files import read_json, write_json
    from tasks.core.progress import say
    from tasks.core.schema import VALUE, Candidate, Column, Split
    from tasks.data.manifest import of_split, usable
    from tasks.evaluation import candidates as rating
    from tasks.evaluation.scorers import logits_of, scorers, teacher_scorer
    from tasks.hardware.device import choose
    from tasks.models.backbone import build
    from tasks.models.weights_file import read
    from tasks.scorer.answer import spec_of
    from tasks.training.goal import Goal

    wanted, batch = params.backbone, params.compute.batch
    manifest = pd.read_parquet(paths.manifest)
    goal = Goal.of(usable(manifest))
    validation, test = of_split(manifest, Split.VALIDATION), of_split(manifest, Split.TEST)
    sizes = (wanted.resize, wanted.crop)
    backbone = build(wanted.architecture, *read(paths.pretrained), *sizes, wanted.cut, wanted.letterbox)
    trained = {Candidate.SCRATCH: paths.scratch, Candidate.TUNED: paths.tuned}
    answering = scorers(wanted, goal, backbone, paths.head_weights, trained)
    files = [*validation[Column.PATH], *test[Column.PATH]]
    device = choose(params.compute.device, "float32")
    outputs = logits_of(answering, paths.raw, files, device, batch)
    if params.objective.has_teacher and params.teacher.weights is not None:
        teacher = teacher_scorer(
            paths.teacher, params.teacher, goal, paths.teacher_head, letterbox=backbone.preprocessing.letterbox
        )
        outputs |= logits_of({Candidate.TEACHER: teacher}, paths.raw, files, device, batch)

    asked = rating.Wanted(**params.evaluate.model_dump(), adversaries=params.adversaries.model_dump())
    probe, tuned = answering[Candidate.PROBE], answering[Candidate.TUNED]
    case = rating.Case(paths, goal, validation, test, outputs, probe, tuned, batch, params.seed)
    rated = rating.rate(case, asked)
    spec = spec_of(
        wanted.architecture,
        goal.classes,
        backbone.preprocessing,
        wanted.cut,
        read(paths.head_weights)[1],
        targets=goal.targets,
        temperature=rated.temperature,
        threshold=rated.threshold,
        label_thresholds=rated.label_thresholds,
        init=read_json(PINS)[INIT],
    )
    write_json(paths.spec, spec)
    write_json(paths.metrics, rated.table)
    told = [f"{name} {rating.told(row)}" for name, row in rated.table.items()]
    say(f"{rating.headline(goal)} on {len(test)} test images: {', '.join(told)}")
    scored = {metric: at[VALUE] for metric, at in rated.table[Candidate.TUNED].items()}
    return EvaluateReport(images=len(test), scores={**scored, **rated.more})
