"""The folders set in params.yaml, and the names of the files that stages write to them."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from tasks.core.params import Section, StageParams


class File:
    """A read-only attribute: the path of a file or folder inside one of the folders of Paths."""

    def __init__(self, folder: str, name: str) -> None:
        self.folder, self.name = folder, name

    def __get__(self, paths: StageFiles, owner: type[StageFiles]) -> Path:
        """Returns the path, relative to the repository root."""
        folder: Path = getattr(paths, self.folder)
        return folder / self.name


class StageFiles:
    """The outputs of the stages. Each attribute is a path inside a folder set in params.yaml."""

    manifest = File("ingest", "manifest.parquet")  # one row per image
    task = File("ingest", "task.json")  # the TargetSpec
    decoding = File("ingest", "decoding.json")  # how the images are decoded, now and when the model is used
    split_record = File("ingest", "splits.json")  # the SplitRecord
    near_duplicates = File("ingest", "near_duplicates.png")  # near-duplicates in two splits, if there are any
    validation = File("validate_", "validation.json")  # the findings
    validation_page = File("validate_", "report.html")  # the findings as a readable page
    pretrained = File("choose", "backbone.weights")  # the chosen backbone's weights
    choice = File("choose", "choice.json")  # the chosen backbone, and how all options scored
    policy = File("augment", "policy.json")  # the resolved augmentation policy
    plan = File("augment", "plan.parquet")  # the random parameters of the views in the preview
    preview = File("augment", "preview.png")  # sample images with their views
    matrix = File("features", "matrix")  # one row per view, in index order: a file per part
    index = File("features", "index.parquet")  # image and view of each matrix row
    head_weights = File("head", "head.safetensors")
    probe = File("head", "probe.json")  # validation loss and score of each head setting
    tuned = File("finetune", "model.safetensors")
    teacher_head = File("finetune", "teacher_head.safetensors")  # fitted for a teacher that has no head
    scratch = File("finetune", "scratch.safetensors")  # the same network trained from random weights
    search = File("finetune", "search.json")  # all fits of a search for a recipe
    out_of_fold = File("finetune", "out_of_fold.safetensors")  # outputs for calibration, if few images choose
    curves = File("finetune", "curves.jsonl")  # one line per epoch
    spec = File("evaluate", "spec.json")  # everything the scorer needs besides the weights
    metrics = File("evaluate", "metrics.json")  # each candidate's scores, with intervals
    predictions = File("evaluate", "predictions.parquet")  # the fine-tuned model's prediction for every test image
    probabilities = File("evaluate", "probabilities.safetensors")  # of all classes, if predictions list the likeliest
    per_class = File("evaluate", "per_class.csv")  # precision, recall, F1 and support
    per_target = File("evaluate", "per_target.csv")  # in regression: errors and R² of each target
    selective = File("evaluate", "selective.json")  # the rejection threshold, with coverage and risk
    slices = File("evaluate", "slices.csv")  # accuracy of each slice
    robustness = File("evaluate", "robustness.csv")  # accuracy under each corruption
    robustness_picture = File("evaluate", "robustness.png")
    attacks = File("evaluate", "attacks.csv")  # accuracy under attack, if requested
    reliability = File("evaluate", "reliability.png")
    roc_pr = File("evaluate", "roc_pr.png")
    residuals = File("evaluate", "residuals.png")
    risk_coverage = File("evaluate", "risk_coverage.png")
    comparison = File("evaluate", "comparison.png")  # accuracy of the candidates
    confusion = File("evaluate", "confusion.png")  # with many classes: the most confused pairs
    curves_picture = File("evaluate", "curves.png")  # validation loss and score over steps
    wrong = File("evaluate", "wrong.png")  # the misclassified test images with the highest confidence
    results_page = File("evaluate", "results.html")  # all results on one page, with embedded images
    facts = File("state", "facts")  # image facts, keyed by file content
    feature_store = File("state", "features")  # features, keyed by file content
    checkpoints = File("state", "checkpoints")  # checkpoints for resuming interrupted fits
    result = File("state", "result.md")  # the last retraining's result, with embedded images


class Paths(StageFiles, Section):
    """The paths of all inputs and outputs, relative to the repository root. File names are defined only here."""

    raw: Path = Field(description="the images, copied from data.source and versioned by DVC")
    candidates: Path = Field(description="weights to choose the backbone from, versioned by DVC")
    splits: Path = Field(description="the splits of earlier versions, copied from the registry's folder")
    teacher: Path = Field(description="the teacher's weights, copied from teacher.weights; an empty file without one")
    ingest: Path
    validate_: Path = Field(alias="validate")
    choose: Path
    augment: Path
    features: Path
    head: Path
    finetune: Path
    evaluate: Path
    predicted: Path = Field(description="answers of make predict; ignored by git")
    state: Path = Field(description="locks, checkpoints, feature store, facts, logs; ignored by git, safe to delete")

    def of(self, stage: str) -> Path:
        """Returns the folder that a stage writes."""
        return Path(getattr(self, "validate_" if stage == "validate" else stage))

    def failed(self, stage: str) -> Path:
        """Returns the folder that keeps the outputs of a stage's last failed run."""
        return self.state / "failed" / stage

    def report(self, stage: str) -> Path:
        """Returns the file with a stage's last report, its duration and its peak memory."""
        return self.state / "reports" / f"{stage}.json"


class PathsParams(StageParams):
    """Only the paths, for code that needs nothing else from params.yaml."""

    paths: Paths
