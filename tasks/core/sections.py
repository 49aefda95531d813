"""The sections of params.yaml that several modules read: networks, computation, training, augmentation, evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field

from tasks.core.errors import ParamsError
from tasks.core.files import read_json, write_json
from tasks.core.params import Section

Count = Annotated[int, Field(ge=1)]
Penalty = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
MaxPixels = Annotated[int, Field(ge=1, description="largest image, in pixels after a JPEG's reduction")]
Background = Annotated[
    str,
    Field(
        pattern=r"^(white|black|gray|#[0-9a-fA-F]{6})$",
        description="color behind transparent pixels: white, black, gray, or '#rrggbb' in quotes",
    ),
]
WhiteLevel = Annotated[
    int | None, Field(ge=1, le=65535, description="value of white in 16-bit gray, such as 4095; null: 65535")
]


DeviceName = Annotated[
    Literal["auto", "cpu", "cuda", "mps"], Field(description="auto: CUDA if available, else MPS, else CPU")
]


class BackboneParams(Section):
    """The pretrained network that computes features."""

    architecture: str = Field(
        description="auto: chosen for the images; or resnet10 (embedded), efficientnet_lite0, or one of torchvision's"
    )
    weights: str = Field(
        description="auto; a .safetensors or .pth file, package:NAME, torchvision:DEFAULT, models:/name@alias; random"
    )
    match: Literal["strict", "names"] = Field(
        description="names: load parameters whose name and shape match, initialize the others at random"
    )
    cut: Literal["layer", "classifier"] = Field(
        description="what the head replaces: the last layer, or the whole classifier (Keras's include_top=False)"
    )
    resize: int | None = Field(ge=8, description="pixels of the shorter side; null: the weights' default")
    crop: int | None = Field(ge=8, description="pixels of the center square; null: the weights' default")
    letterbox: bool = Field(description="pad images to a square with black bars instead of cropping the center")
    candidates: dict[str, str] = Field(description="more networks for auto: weights by architecture")
    download: bool = Field(description="whether candidates may be downloaded")


class ComputeParams(Section):
    """Device and precision. Evaluation and serving are always float32."""

    device: DeviceName
    precision: Literal["auto", "float32", "bfloat16"] = Field(description="auto: bfloat16 where it is faster")
    batch: int = Field(ge=1, description="images per forward pass")
    memory: float = Field(gt=0, description="GiB of decoded images kept in memory; the rest is decoded every epoch")


class HeadSection(Section):
    """The head on the frozen backbone."""

    kind: Literal["linear", "dense", "prototype", "knn"]
    start: Literal["zero", "earlier"] = Field(
        description="initial weights of a linear head; earlier: those of the model in backbone.weights, per class"
    )
    strengths: tuple[Penalty, ...] = Field(
        min_length=1, description="candidate penalties of a linear or dense head, chosen by validation loss"
    )
    hidden: int = Field(ge=1, description="hidden units of a dense head")
    grow: tuple[Count, ...] = Field(description="hidden units of a dense head before it grows to hidden")
    rate: float = Field(gt=0, description="AdamW learning rate of a dense head")
    epochs: int = Field(ge=1, description="epochs over the features, for a dense head; for each step of its growth")
    batch: int = Field(ge=1, description="rows per optimizer step, for a dense head")
    neighbours: tuple[Count, ...] = Field(min_length=1, description="candidate numbers of neighbors of a knn head")


class FinetuneSection(Section):
    """Fine-tuning with AdamW, of the last blocks or of what a search chooses."""

    recipe: Literal["auto", "fixed", "search"] = Field(
        description="fixed: as configured here; search: the best of several; auto: a search, but not for resnet10"
    )
    budget: int = Field(
        ge=6, description="of a search: image passes of all fits together, per training image; replaces epochs"
    )
    blocks: int = Field(ge=0, description="number of last backbone blocks that are trained with the head")
    layers: int | None = Field(ge=0, description="count single layers instead, as Keras does; null: count blocks")
    unfreeze: int = Field(ge=0, description="epochs between unfreezing one more block, from the last; 0: all at once")
    epochs: int = Field(ge=0, description="epochs over the training images, one view each; 0: keep the probe")
    batch: int = Field(ge=2, description="images per optimizer step")
    parts: int = Field(ge=1, description="micro-batches per batch (gradient accumulation)")
    rate: float = Field(gt=0, description="learning rate of the last block")
    head_rate: float = Field(gt=0, description="learning rate of the head")
    decay: float = Field(gt=0, le=1, description="layer-wise learning rate decay, per block from the last to the first")
    weight_decay: float = Field(ge=0)
    warmup: float = Field(ge=0, lt=1, description="fraction of the steps")
    clip: float = Field(ge=0, description="largest gradient norm; 0: no clipping")
    patience: int = Field(
        ge=1,
        description="epochs without a lower validation loss before stopping; of classes, at the best temperature",
    )
    interpolation: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        description="candidate points from the probe (0) to the last epoch (1); []: the best epoch is kept"
    )
    average: float = Field(ge=0, lt=1, description="decay of the exponential moving average of the weights; 0: none")
    batchnorm: Literal["frozen", "training"] = Field(
        description="frozen: trained blocks keep their BatchNorm statistics; training: they update them"
    )
    dropout: float | None = Field(ge=0, lt=1, description="probability; null: inactive outside of the trained blocks")
    stochastic_depth: float | None = Field(
        ge=0, lt=1, description="probability in the last block; null: the architecture's default"
    )
    smoothing: float = Field(ge=0, lt=1, description="label smoothing: probability mass spread over all classes")
    mixup: float = Field(ge=0, description="alpha of mixup; 0: off")
    cutmix: float = Field(ge=0, description="alpha of CutMix; 0: off")
    processes: int = Field(ge=0, description="data-parallel processes; 0: one per GPU, and one without a GPU")
    cache: float = Field(ge=0, description="GiB on disk for activations of the frozen blocks; 0: no cache")
    compile: bool = Field(description="compile the trained blocks with torch.compile; pays in long fits")


class ScratchSection(Section):
    """The baseline: the same network, trained from random weights for the same number of optimizer steps."""

    run: bool = Field(description="whether to train it")
    rate: float = Field(gt=0, description="learning rate of all layers")


class AugmentSection(Section):
    """The augmentation policy."""

    views: int = Field(ge=1, le=1000, description="views of each training image, in addition to the clean one")
    shift: float = Field(ge=0, le=0.5, description="fraction of the side; uniform in +- this, in both directions")
    scale: float = Field(ge=0, le=0.5, description="zoom; uniform in 1 +- this")
    flip: bool = Field(description="flip horizontally, with probability 0.5")
    rotation: float = Field(ge=0, le=180, description="degrees; uniform in +- this")
    erase: float = Field(ge=0, le=1, description="probability of erasing a square of 10 to 40% of the side")
    automatic: Literal["none", "rand", "trivial", "augmix"] = Field(description="a torchvision policy, applied first")
    colour: float = Field(ge=0, le=0.9, description="brightness, contrast and saturation; uniform in 1 +- this")
    fill: Literal["black", "edge", "mirror"] = Field(description="how pixels outside of the image are filled")
    check: bool = Field(description="turn flip off if mirror images are recognized less well")


class FlipCheck(Section):
    """What a probe says of flips: the fractions of images that it recognizes, and the p-value of their difference.

    The fractions are None if there were too few images to compare.
    """

    outcome: Literal["kept", "off", "undecided"]
    images: int
    original: float | None = None
    mirrored: float | None = None
    p_value: float | None = None
    with_copies: float | None = Field(None, description="of originals, by a probe trained on mirror images, too")
    classes: tuple[str, ...] = Field((), description="the classes or labels that are recognized less well")


class AugmentPolicy(AugmentSection):
    """The resolved policy and the seed of its views, which augment writes to policy.json."""

    seed: int
    flip_check: FlipCheck | None = None

    @classmethod
    def of(cls, section: AugmentSection, seed: int, flip_check: FlipCheck | None = None) -> Self:
        """Adds the seed to a section, and turns flips off if the check says so."""
        flip = section.flip and (flip_check is None or flip_check.outcome != "off")
        return cls(**{**dict(section), "flip": flip}, seed=seed, flip_check=flip_check)

    @classmethod
    def read(cls, file: Path) -> Self:
        """Reads policy.json."""
        return cls.model_validate(read_json(file))

    def write(self, file: Path) -> None:
        """Writes policy.json."""
        fields = self.model_dump(mode="json", exclude_none=True)
        write_json(file, {"seed": fields.pop("seed"), **fields})


class CorruptionsSection(Section):
    """The strengths of each test-time corruption; an empty list skips the corruption."""

    shift: tuple[float, ...] = Field(description="fractions of the side, along the diagonal")
    scale: tuple[Positive, ...] = Field(description="zoom factors")
    flip: tuple[float, ...] = Field(description="1: horizontal flip")
    rotation: tuple[float, ...] = Field(description="degrees, alternating between clockwise and counterclockwise")
    noise: tuple[Positive, ...] = Field(description="standard deviations, with pixels in [0, 1]")
    blur: tuple[Positive, ...] = Field(description="standard deviations, as fractions of the side")
    jpeg: tuple[Annotated[float, Field(ge=1, le=95)], ...] = Field(description="JPEG qualities, 1 to 95")


class EvaluateSection(Section):
    """Metrics, slices, corruptions and attacks on the test split."""

    bins: int = Field(ge=2, description="confidence bins of the calibration error")
    wrong: int = Field(ge=1, description="largest number of misclassified images shown")
    risk: float = Field(gt=0, lt=1, description="accepted error rate among the images that are answered")
    slices: tuple[str, ...] = Field(description="columns of the manifest whose values are scored separately")
    corrupted: int = Field(ge=0, description="test images on which corruptions are tested; 0: none")
    attacked: int = Field(
        ge=0, description="test images on which AutoAttack is tested, within the budget of adversaries; 0: none"
    )
    corruptions: CorruptionsSection


def refuse_tuning(kind: str, epochs: int) -> None:
    """Raises ParamsError if a knn head, which cannot be fine-tuned, is combined with finetune.epochs above 0."""
    if kind == "knn" and epochs:
        raise ParamsError(
            "finetune.epochs: a knn head cannot be fine-tuned; set it to 0, or choose another head.kind",
            key="finetune.epochs",
        )
