"""Evaluate: compares training from scratch, a frozen backbone with a head, and fine-tuning on the test split."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.core.objective_sections import AdversariesSection, Objective, TeacherParams
from tasks.core.params import INIT, PINS, Section, StageParams
from tasks.core.paths import Paths
from tasks.core.sections import BackboneParams, ComputeParams, EvaluateSection

if TYPE_CHECKING:
    from tasks.core.target import TargetSpec
    from tasks.evaluation.candidates import EvaluationInput, EvaluationResult


class EvaluateParams(StageParams):
    """The parameters that evaluate reads."""

    seed: int
    objective: Objective
    backbone: BackboneParams
    teacher: TeacherParams
    compute: ComputeParams
    adversaries: AdversariesSection
    evaluate: EvaluateSection


class EvaluateReport(Section, allow_inf_nan=True):
    """The number of test images, and the fine-tuned model's scores by name."""

    images: int
    scores: dict[str, float]


def evaluate(paths: Paths, params: EvaluateParams) -> EvaluateReport:
    """Writes spec.json, predictions, metrics with intervals, tables and plots. Returns the scores."""
    import torchvision  # noqa: F401 - imported before the stage's time is measured

    from tasks.core.files import write_json
    from tasks.core.progress import say
    from tasks.core.schema import VALUE, Candidate
    from tasks.core.target import TargetSpec
    from tasks.evaluation.kinds import evaluate_candidates
    from tasks.metrics.headline import headline_of

    target = TargetSpec.load(paths.task)
    case = evaluation_input(paths, params, target)
    result = evaluate_candidates(case)
    write_json(paths.spec, model_spec(case, params, result))
    write_json(paths.metrics, result.table)
    headline = headline_of(target.kind, result.table[Candidate.TUNED])
    scores = [f"{name} {headline.describe(row)}" for name, row in result.table.items()]
    say(f"{headline.name} on {len(case.test)} test images: {', '.join(scores)}")
    tuned = {metric: score[VALUE] for metric, score in result.table[Candidate.TUNED].items()}
    return EvaluateReport(images=len(case.test), scores={**tuned, **result.extra})


def evaluation_input(paths: Paths, params: EvaluateParams, target: TargetSpec) -> EvaluationInput:
    """Builds the candidates and computes their outputs on validation and test images."""
    from tasks.core.schema import Candidate, Column, Split
    from tasks.data.decoding import load
    from tasks.data.manifest import of_split, read_manifest
    from tasks.evaluation.candidates import EvaluationInput, chosen_apart, divided
    from tasks.evaluation.scorers import logits_of, scorers, teacher_scorer, tuned_file
    from tasks.hardware.device import choose
    from tasks.models.backbone import build
    from tasks.models.weights_file import read
    from tasks.objectives.search_report import SearchReport

    section, batch = params.backbone, params.compute.batch
    manifest = read_manifest(paths.manifest)
    validation, test = of_split(manifest, Split.VALIDATION), of_split(manifest, Split.TEST)
    sizes, decoding = (section.resize, section.crop), load(paths.decoding)
    backbone = build(section.architecture, *read(paths.pretrained), *sizes, section.cut, section.letterbox, decoding)
    trained = {Candidate.SCRATCH: paths.scratch, Candidate.TUNED: paths.tuned}
    candidates = scorers(section, target, backbone, paths.head_weights, trained)
    files = [*validation[Column.PATH], *test[Column.PATH]]
    device = choose(params.compute.device, "float32")
    outputs = logits_of(candidates, paths.raw, files, device, batch)
    if params.objective.has_teacher and params.teacher.weights is not None:
        teacher = teacher_scorer(paths.teacher, params.teacher, target, paths.teacher_head, backbone.preprocessing)
        outputs |= logits_of({Candidate.TEACHER: teacher}, paths.raw, files, device, batch)
    by_candidate = {name: divided(output_MC, validation) for name, output_MC in outputs.items()}
    if search := SearchReport.load(paths.search):
        tuned = by_candidate[Candidate.TUNED]
        by_candidate[Candidate.TUNED] = chosen_apart(tuned, validation, search, paths.out_of_fold)
    return EvaluationInput(
        paths=paths,
        target=target,
        validation=validation,
        test=test,
        search=search,
        outputs=by_candidate,
        probe=candidates[Candidate.PROBE],
        tuned=candidates[Candidate.TUNED],
        tuned_file=tuned_file(section, target, backbone, paths.head_weights, paths.tuned),
        section=params.evaluate,
        adversaries=params.adversaries,
        batch=batch,
        seed=params.seed,
    )


def model_spec(case: EvaluationInput, params: EvaluateParams, result: EvaluationResult) -> dict[str, object]:
    """Returns the contents of spec.json: what the scorer needs besides the tuned weights."""
    from tasks.core.files import read_json
    from tasks.models.weights_file import read
    from tasks.scorer.answer import spec_of
    from tasks.selection.choice import Choice

    return spec_of(
        Choice.load(case.paths.choice).architecture,
        case.target.classes,
        case.tuned.preprocessing,
        params.backbone.cut,
        read(case.paths.head_weights)[1],
        targets=case.target.targets,
        temperature=result.temperature,
        threshold=result.threshold,
        label_thresholds=result.label_thresholds,
        init=read_json(PINS)[INIT],
    )
