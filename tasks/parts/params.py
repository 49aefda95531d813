"""params.yaml, read once, typed and checked; an error names the line and the remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from tasks.parts.errors import ParamsError

PARAMS_FILE = Path("params.yaml")
PINS = Path("data/pins.json")  # what the registry said when the flow started; null for what nothing asks for
INIT = "init"  # the earlier model whose backbone this one starts from
Model = TypeVar("Model", bound=BaseModel)


class Section(BaseModel):
    """A section of params.yaml: frozen, and it refuses keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class StageParams(Section):
    """What one stage reads of params.yaml: its fields are the top-level keys that dvc.yaml declares for it."""

    @classmethod
    def load(cls, file: Path = PARAMS_FILE) -> Self:
        """Reads the keys of this class. Raises ParamsError naming the line of what is wrong."""
        return cls.of(read_document(file), file)

    @classmethod
    def of(cls, document: CommentedMap, file: Path = PARAMS_FILE) -> Self:
        """From a document that was read from `file`. Raises ParamsError naming the line of what is wrong."""
        return validated(cls, {key: document[key] for key in cls.sections() if key in document}, document, file)

    @classmethod
    def sections(cls) -> tuple[str, ...]:
        """The top-level keys of params.yaml that this class reads."""
        return tuple(field.alias or name for name, field in cls.model_fields.items())


class BackboneParams(Section):
    """The pretrained network that features come from."""

    architecture: str = Field(description="resnet10 (embedded) or the name of a torchvision classification model")
    weights: str = Field(description="a .safetensors or .pth file, torchvision:DEFAULT, models:/name@alias, or random")
    cut: Literal["layer", "classifier"] = Field(
        description="what the head replaces: the last layer, or the whole classifier (Keras's include_top=False)"
    )
    resize: int | None = Field(ge=8, description="pixels of the shorter side; null: as the weights say")
    crop: int | None = Field(ge=8, description="pixels of the centre square; null: as the weights say")


class ComputeParams(Section):
    """How numbers are computed. Evaluation and serving are always float32."""

    device: Literal["auto", "cpu", "cuda", "mps"] = Field(description="auto: CUDA, else MPS, else CPU")
    precision: Literal["auto", "float32", "bfloat16"] = Field(description="auto: bfloat16 where the chip has it")
    batch: int = Field(ge=1, description="images in one forward pass")
    memory: float = Field(
        gt=0, description="GiB of decoded images kept between epochs; beyond it they are decoded again"
    )


class Paths(Section):
    """Where everything lies, relative to the repository's root. File names are given once, here."""

    raw: Path = Field(description="the images, brought in from data.source and versioned by DVC")
    pretrained: Path = Field(
        description="the backbone's weights, brought in from backbone.weights and versioned by DVC"
    )
    ingest: Path
    validate_: Path = Field(alias="validate")
    augment: Path
    features: Path
    head: Path
    finetune: Path
    evaluate: Path
    predicted: Path = Field(description="answers of make predict: ignored by git")
    state: Path = Field(description="locks, checkpoints, feature store, logs: ignored by git, deletable")
    registry: Path = Field(
        description="databases, run artifacts and the default DVC remote: ignored by git, never cleaned"
    )

    @property
    def manifest(self) -> Path:
        """One row an image."""
        return self.ingest / "manifest.parquet"

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
        """What the last run of a stage reported, and its seconds."""
        return self.state / "reports" / f"{stage}.json"


class PathsParams(StageParams):
    """The paths alone, for those who need nothing else of params.yaml."""

    paths: Paths


def read_document(file: Path) -> CommentedMap:
    """params.yaml with its comments and line numbers. Raises ParamsError if it is missing or not a YAML mapping."""
    try:
        document = YAML().load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(
            f"{file} is missing; run from the repository's root, or restore it: git checkout {file}"
        ) from None
    except YAMLError as error:
        raise ParamsError(f"{file} is not valid YAML: {error}") from None
    if not isinstance(document, CommentedMap):
        raise ParamsError(f"{file} must be a mapping of sections; restore it: git checkout {file}")
    return document


def validated(model: type[Model], values: Any, document: CommentedMap, file: Path) -> Model:  # noqa: ANN401
    """`values` as `model`. Raises ParamsError with line, key and remedy of each fault."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        faults = [_explain(model, fault["loc"], fault["msg"], document, file) for fault in error.errors()]
        raise ParamsError("\n".join(faults)) from None


def _explain(
    model: type[BaseModel], loc: tuple[int | str, ...], message: str, document: CommentedMap, file: Path
) -> str:
    key = ".".join(str(part) for part in loc)
    meaning = _meaning(model, loc)
    return f"{file} line {_line(document, loc)}: {key}: {message}" + (f" ({meaning})" if meaning else "")


def _line(document: CommentedMap, loc: tuple[int | str, ...]) -> int:
    """The 1-based line of the deepest part of `loc` that the document has."""
    line, node = 1, document
    for part in loc:
        if not isinstance(node, CommentedMap) or part not in node:
            break
        line = node.lc.key(part)[0] + 1
        node = node[part]
    return line


def _meaning(model: type[BaseModel], loc: tuple[int | str, ...]) -> str | None:
    """What the parameter at `loc` is for, as its class says."""
    current: Any = model
    for part in loc[:-1]:
        field = _field(current, part)
        if field is None or not hasattr(field.annotation, "model_fields"):
            return None
        current = field.annotation
    field = _field(current, loc[-1]) if loc else None
    return field.description if field else None


def _field(model: type[BaseModel], key: int | str) -> FieldInfo | None:
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    return fields.get(str(key))
