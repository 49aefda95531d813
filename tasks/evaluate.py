"""Evaluate: the article's question on the test split, from scratch, frozen + head, or fine-tuned."""

from __future__ import annotations

from pydantic import Field

from tasks.parts.params import INIT, PINS, BackboneParams, ComputeParams, Paths, Section, StageParams


class CorruptionsSection(Section):
    """Strengths at which the model is tried; none: not tried."""

    shift: tuple[float, ...] = Field(description="fractions of the side, diagonally")
    scale: tuple[float, ...] = Field(description="zooms")
    flip: tuple[float, ...] = Field(description="1: left to right")
    noise: tuple[float, ...] = Field(description="standard deviations; white is 1")
    blur: tuple[float, ...] = Field(description="standard deviations; fractions of the side")
    jpeg: tuple[float, ...] = Field(description="qualities, 1 to 95")


class EvaluateSection(Section):
    """How scores are made."""

    bins: int = Field(ge=2, description="bins of confidence in the calibration error")
    resamples: int = Field(ge=100, description="bootstrap resamples behind each interval")
    wrong: int = Field(ge=1, description="most wrong images on the sheet")
    risk: float = Field(gt=0, lt=1, description="share of wrong answers that is accepted among those given")
    slices: tuple[str, ...] = Field(description="columns of the manifest whose values are scored apart")
    corrupted: int = Field(ge=0, description="test images that corruptions are tried on; 0: none")
    corruptions: CorruptionsSection


class EvaluateParams(StageParams):
    """What evaluate reads of params.yaml."""

    seed: int
    backbone: BackboneParams
    compute: ComputeParams
    evaluate: EvaluateSection


class EvaluateReport(Section):
    """The fine-tuned model on the test split; coverage and risk are those of the answers that are sure enough."""

    images: int
    accuracy: float
    macro_f1: float
    ece: float
    coverage: float
    risk: float


def evaluate(paths: Paths, params: EvaluateParams) -> EvaluateReport:
    """Writes the scorer's spec, predictions, metrics with intervals, tables and pictures."""
    import pandas as pd
    import torchvision  # noqa: F401 - imported here, so that its two seconds are not the stage's own

    from tasks.parts.backbone import build
    from tasks.parts.candidates import logits_of, scorers
    from tasks.parts.classification import Answers, calibrated, selective
    from tasks.parts.device import choose
    from tasks.parts.files import read_json, write_json
    from tasks.parts.manifest import class_names, class_numbers, of_split, usable
    from tasks.parts.metrics import scores
    from tasks.parts.names import VALUE, Candidate, Column, Metric, Split
    from tasks.parts.progress import say
    from tasks.parts.results import Table, write_page, write_pictures, write_predictions
    from tasks.parts.robustness import under_corruptions
    from tasks.parts.scorer import spec_of
    from tasks.parts.trust import write_trust
    from tasks.parts.weights import read

    wanted, section, batch = params.backbone, params.evaluate, params.compute.batch
    manifest = pd.read_parquet(paths.manifest)
    classes = class_names(usable(manifest))
    validation, test = of_split(manifest, Split.VALIDATION), of_split(manifest, Split.TEST)
    backbone = build(wanted.architecture, *read(paths.pretrained), wanted.resize, wanted.crop, wanted.cut)
    trained = {Candidate.SCRATCH: paths.scratch, Candidate.TUNED: paths.tuned}
    answering = scorers(wanted, classes, backbone, paths.head_weights, trained)
    files = [*validation[Column.PATH], *test[Column.PATH]]
    logits = logits_of(answering, paths.raw, files, choose(params.compute.device, "float32"), batch)

    table: Table = {}
    answers: dict[Candidate, Answers] = {}
    y_validation, y_test = class_numbers(validation, classes), class_numbers(test, classes)
    for name, logits_NC in logits.items():
        answers[name] = calibrated(logits_NC, y_validation, y_test)
        table[name] = scores(
            answers[name].raw_NC, answers[name].scaled_NC, y_test, section.bins, section.resamples, params.seed
        )
    tuned = answers[Candidate.TUNED]
    sure = selective(tuned, section.risk)
    strengths = section.corruptions.model_dump()
    tried = test.iloc[:: -(-len(test) // section.corrupted)] if section.corrupted else test.iloc[:0]
    robust = under_corruptions(answering[Candidate.TUNED], paths.raw, tried, classes, strengths, batch)

    init = read_json(PINS)[INIT]
    write_json(
        paths.spec,
        spec_of(
            wanted.architecture,
            classes,
            backbone.preprocessing,
            wanted.cut,
            read(paths.head_weights)[1],
            temperature=tuned.temperature,
            threshold=sure["threshold"],
            init=init,
        ),
    )
    write_json(paths.metrics, table)
    write_json(paths.selective, sure)
    write_predictions(paths, test, classes, tuned.scaled_NC)
    write_pictures(paths, test, classes, tuned.scaled_NC, table, section.wrong)
    write_trust(paths, test, classes, answers, robust, section.slices, section.bins, sure)
    write_page(paths, table, sure)
    accuracies = [f"{name} {row[Metric.ACCURACY][VALUE]:.1%}" for name, row in table.items()]
    say(f"accuracy on {len(test)} test images: {', '.join(accuracies)}")
    return EvaluateReport(
        images=len(test),
        accuracy=table[Candidate.TUNED][Metric.ACCURACY][VALUE],
        macro_f1=table[Candidate.TUNED][Metric.MACRO_F1][VALUE],
        ece=table[Candidate.TUNED][Metric.ECE][VALUE],
        coverage=sure["coverage"],
        risk=sure["risk"],
    )
