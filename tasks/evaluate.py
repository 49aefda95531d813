"""Evaluate: the article's question on the test split, from scratch, frozen + head, or fine-tuned."""

from __future__ import annotations

from pydantic import Field

from tasks.parts.params import INIT, PINS, BackboneParams, ComputeParams, Paths, Section, StageParams


class EvaluateSection(Section):
    """How scores are made."""

    bins: int = Field(ge=2, description="bins of confidence in the calibration error")
    resamples: int = Field(ge=100, description="bootstrap resamples behind each interval")
    wrong: int = Field(ge=1, description="most wrong images on the sheet")


class EvaluateParams(StageParams):
    """What evaluate reads of params.yaml."""

    seed: int
    backbone: BackboneParams
    compute: ComputeParams
    evaluate: EvaluateSection


class EvaluateReport(Section):
    """The fine-tuned model on the test split."""

    images: int
    accuracy: float
    macro_f1: float
    ece: float


def evaluate(paths: Paths, params: EvaluateParams) -> EvaluateReport:
    """Writes the scorer's spec, predictions, metrics with intervals, tables and pictures."""
    import pandas as pd
    import torch
    import torchvision  # noqa: F401 - imported here, so that its two seconds are not the stage's own

    from tasks.parts.backbone import build
    from tasks.parts.candidates import logits_of, scorers
    from tasks.parts.device import choose
    from tasks.parts.files import read_json, write_json
    from tasks.parts.manifest import class_names, class_numbers, of_split, usable
    from tasks.parts.metrics import scores, temperature
    from tasks.parts.names import VALUE, Candidate, Column, Metric, Split
    from tasks.parts.progress import say
    from tasks.parts.results import Table, write_page, write_pictures, write_predictions
    from tasks.parts.scorer import spec_of
    from tasks.parts.weights import read

    wanted, section = params.backbone, params.evaluate
    manifest = pd.read_parquet(paths.manifest)
    classes = class_names(usable(manifest))
    validation, test = of_split(manifest, Split.VALIDATION), of_split(manifest, Split.TEST)
    y_validation, y_test = class_numbers(validation, classes), class_numbers(test, classes)
    backbone = build(wanted.architecture, *read(paths.pretrained), wanted.resize, wanted.crop)
    trained = {Candidate.SCRATCH: paths.scratch, Candidate.TUNED: paths.tuned}
    answering = scorers(wanted.architecture, classes, backbone, paths.head_weights, trained)
    files = [*validation[Column.PATH], *test[Column.PATH]]
    logits = logits_of(answering, paths.raw, files, choose(params.compute.device, "float32"), params.compute.batch)

    table: Table = {}
    probabilities, temperatures = {}, {}
    for name, logits_NC in logits.items():
        validation_NC, test_NC = logits_NC[: len(validation)], logits_NC[len(validation) :]
        temperatures[name] = temperature(validation_NC, torch.from_numpy(y_validation))
        raw, probabilities[name] = (test_NC.softmax(1).numpy(), (test_NC / temperatures[name]).softmax(1).numpy())
        table[name] = scores(raw, probabilities[name], y_test, section.bins, section.resamples, params.seed)

    chosen = probabilities[Candidate.TUNED]
    init = read_json(PINS)[INIT]
    spec = spec_of(wanted.architecture, classes, backbone.preprocessing, temperatures[Candidate.TUNED], init)
    write_json(paths.spec, spec)
    write_json(paths.metrics, table)
    write_predictions(paths, test, classes, chosen)
    write_pictures(paths, test, classes, chosen, table, section.wrong)
    write_page(paths, table)
    accuracies = [f"{name} {row[Metric.ACCURACY][VALUE]:.1%}" for name, row in table.items()]
    say(f"accuracy on {len(test)} test images: {', '.join(accuracies)}")
    tuned = {metric: at[VALUE] for metric, at in table[Candidate.TUNED].items()}
    return EvaluateReport(
        images=len(test), accuracy=tuned[Metric.ACCURACY], macro_f1=tuned[Metric.MACRO_F1], ece=tuned[Metric.ECE]
    )
