"""Where everything lies: the paths of params.yaml, and the file names of what each stage writes."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from tasks.core.params import Section, StageParams


class Paths(Section):
    """Where everything lies, relative to the repository's root. File names are given once, here."""

    raw: Path = Field(description="the images, brought in from data.source and versioned by DVC")
    pretrained: Path = Field(
        description="the backbone's weights, brought in from backbone.weights and versioned by DVC"
    )
    teacher: Path = Field(
        description="the teacher's weights, brought in from teacher.weights; an empty file without one"
    )
    ingest: Path
    validate_: Path = Field(alias="validate")
    augment: Path
    features: Path
    head: Path
    finetune: Path
    evaluate: Path
    predicted: Path = Field(description="answers of make predict: ignored by git")
    state: Path = Field(description="locks, checkpoints, feature store, facts, logs: ignored by git, deletable")

    @property
    def manifest(self) -> Path:
        """One row an image."""
        return self.ingest / "manifest.parquet"

    @property
    def task(self) -> Path:
        """What is predicted: the problem type, the classes in order or the targets."""
        return self.ingest / "task.json"

    @property
    def validation(self) -> Path:
        """What was expected of the data and what was found."""
        return self.validate_ / "validation.json"

    @property
    def validation_page(self) -> Path:
        """The same as a page to read."""
        return self.validate_ / "report.html"

    @property
    def policy(self) -> Path:
        """The resolved augmentation policy."""
        return self.augment / "policy.json"

    @property
    def plan(self) -> Path:
        """One row a view of a training image: the numbers that make it."""
        return self.augment / "plan.parquet"

    @property
    def preview(self) -> Path:
        """Some pictures and their views."""
        return self.augment / "preview.png"

    @property
    def matrix(self) -> Path:
        """Features, a row a view, in the order of the index."""
        return self.features / "features.safetensors"

    @property
    def index(self) -> Path:
        """Which image and view a row of the matrix belongs to."""
        return self.features / "index.parquet"

    @property
    def head_weights(self) -> Path:
        """The linear probe."""
        return self.head / "head.safetensors"

    @property
    def probe(self) -> Path:
        """How the head was chosen."""
        return self.head / "probe.json"

    @property
    def tuned(self) -> Path:
        """The fine-tuned network."""
        return self.finetune / "model.safetensors"

    @property
    def teacher_head(self) -> Path:
        """The head that was fitted on a teacher that came without one."""
        return self.finetune / "teacher_head.safetensors"

    @property
    def scratch(self) -> Path:
        """The same network trained from random weights."""
        return self.finetune / "scratch.safetensors"

    @property
    def curves(self) -> Path:
        """A JSON line an epoch."""
        return self.finetune / "curves.jsonl"

    @property
    def spec(self) -> Path:
        """What the scorer must know beside the weights."""
        return self.evaluate / "spec.json"

    @property
    def metrics(self) -> Path:
        """Metrics of each candidate, with intervals."""
        return self.evaluate / "metrics.json"

    @property
    def predictions(self) -> Path:
        """The fine-tuned model's answer for every test image."""
        return self.evaluate / "predictions.parquet"

    @property
    def per_class(self) -> Path:
        """Precision, recall, F1 and support of each class."""
        return self.evaluate / "per_class.csv"

    @property
    def selective(self) -> Path:
        """The threshold of "don't know", and what it brings."""
        return self.evaluate / "selective.json"

    @property
    def slices(self) -> Path:
        """Accuracy of each slice."""
        return self.evaluate / "slices.csv"

    @property
    def robustness(self) -> Path:
        """Accuracy under each corruption."""
        return self.evaluate / "robustness.csv"

    @property
    def attacks(self) -> Path:
        """Accuracy under attack, where that was asked for."""
        return self.evaluate / "attacks.csv"

    @property
    def robustness_picture(self) -> Path:
        """The same as bars."""
        return self.evaluate / "robustness.png"

    @property
    def reliability(self) -> Path:
        """How often answers of each confidence are right."""
        return self.evaluate / "reliability.png"

    @property
    def roc_pr(self) -> Path:
        """ROC and precision-recall curves."""
        return self.evaluate / "roc_pr.png"

    @property
    def residuals(self) -> Path:
        """Predicted against true."""
        return self.evaluate / "residuals.png"

    @property
    def risk_coverage(self) -> Path:
        """Wrong answers over the share of images answered."""
        return self.evaluate / "risk_coverage.png"

    @property
    def comparison(self) -> Path:
        """Accuracy of the candidates."""
        return self.evaluate / "comparison.png"

    @property
    def confusion(self) -> Path:
        """What is taken for what."""
        return self.evaluate / "confusion.png"

    @property
    def curves_picture(self) -> Path:
        """Validation loss and accuracy over steps."""
        return self.evaluate / "curves.png"

    @property
    def wrong(self) -> Path:
        """The most wrong test images."""
        return self.evaluate / "wrong.png"

    @property
    def results_page(self) -> Path:
        """The results as one page with its pictures inside."""
        return self.evaluate / "results.html"

    @property
    def facts(self) -> Path:
        """Facts of images by content."""
        return self.state / "facts.json"

    @property
    def feature_store(self) -> Path:
        """Features by content."""
        return self.state / "features"

    @property
    def checkpoints(self) -> Path:
        """What fits that were killed go on from."""
        return self.state / "checkpoints"

    @property
    def result(self) -> Path:
        """The last retraining's result as Markdown, pictures inside."""
        return self.state / "result.md"

    def of(self, stage: str) -> Path:
        """The folder that a stage writes."""
        return Path(getattr(self, "validate_" if stage == "validate" else stage))

    def failed(self, stage: str) -> Path:
        """What a failed run of a stage left."""
        return self.state / "failed" / stage

    def report(self, stage: str) -> Path:
        """What a stage reported when it was last computed, its seconds and its peak memory."""
        return self.state / "reports" / f"{stage}.json"


class PathsParams(StageParams):
    """The paths alone, for those who need nothing else of params.yaml."""

    paths: Paths
