"""Names that never change, since registered versions, their runs and stored tables contain them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest
import torch

from flows.registry.tags import Tag
from tasks.core.schema import LABEL_PROBABILITY, LIKELIEST, PROBABILITIES, Candidate, Column, Metric
from tasks.evaluation.scorer_code import CODE_FILES
from tasks.scorer.answer import Scorer, spec_of
from tasks.scorer.network import build_network
from tasks.scorer.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(32, 32, (0.5,) * 3, (0.5,) * 3, "bilinear")


def test_a_format_has_its_files():
    """Another set of files, or different imports among them, is a new format: add it, and leave these unchanged."""
    assert CODE_FILES == {
        1: ("scorer.py",),
        2: (
            "scorer/decode.py",
            "scorer/preprocessing.py",
            "scorer/architectures.py",
            "scorer/heads.py",
            "scorer/network.py",
            "scorer/labels.py",
            "scorer/answer.py",
        ),
        3: (
            "scorer/memory.py",
            "scorer/formats.py",
            "scorer/readers.py",
            "scorer/decode.py",
            "scorer/preprocessing.py",
            "scorer/architectures.py",
            "scorer/heads.py",
            "scorer/network.py",
            "scorer/labels.py",
            "scorer/answer.py",
        ),
    }


def test_keys_of_the_spec():
    spec = spec_of("resnet8", ("a", "b"), PREPROCESSING)
    assert list(spec) == [
        "format",
        "architecture",
        "cut",
        "head",
        "classes",
        "targets",
        "preprocessing",
        "temperature",
        "threshold",
        "label_thresholds",
        "init",
    ]
    assert list(spec["preprocessing"]) == ["resize", "crop", "mean", "std", "interpolation", "letterbox", "decoding"]
    assert list(spec["preprocessing"]["decoding"]) == ["max_pixels", "background", "white_level"]
    assert (spec["format"], spec["cut"], spec["head"]) == (3, "layer", {"kind": "linear"})


@pytest.mark.parametrize(
    ("head", "names"),
    [
        ({"kind": "linear"}, {"weight", "bias"}),
        ({"kind": "dense", "hidden": 4}, {"0.weight", "0.bias", "2.weight", "2.bias"}),
        ({"kind": "prototype"}, {"weight", "scale"}),
        ({"kind": "knn", "rows": 5, "neighbours": 2}, {"keys_RD", "votes_RC"}),
        ({"kind": "linear", "scaled": 1}, {"inner.weight", "inner.bias", "mean_K", "spread_K"}),
        (
            {"kind": "dense", "hidden": 4, "scaled": 1},
            {f"inner.{n}.{w}" for n in "02" for w in ("weight", "bias")} | {"mean_K", "spread_K"},
        ),
    ],
)
def test_tensors_of_a_head(head, names):
    state = build_network("resnet8", 3, **head).state_dict()
    assert {name for name in state if name.startswith("head.")} == {f"head.{name}" for name in names}


@pytest.mark.parametrize(("architecture", "stages"), [("resnet8", 3), ("resnet10", 4)])
def test_tensors_of_our_backbones(architecture, stages):
    state = build_network(architecture, 3).state_dict()
    assert {name for name in state if not name.startswith("head.")} == {f"backbone.{name}" for name in residual(stages)}


def residual(stages: int) -> Iterator[str]:
    """Returns the tensor names of a ResNet with one basic block per stage, without its last layer."""
    yield "conv1.weight"
    yield from normed("bn1")
    for stage in range(1, stages + 1):
        for number in (1, 2):
            yield f"layer{stage}.0.conv{number}.weight"
            yield from normed(f"layer{stage}.0.bn{number}")
        if stage > 1:
            yield f"layer{stage}.0.downsample.0.weight"
            yield from normed(f"layer{stage}.0.downsample.1")


def normed(layer: str) -> Iterator[str]:
    for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
        yield f"{layer}.{name}"


def test_what_a_scorer_has_and_takes():
    """The interface that flows use of a version's own scorer, which may be older or newer than the flows."""
    methods = {
        "load": ["spec", "weights"],
        "logits": ["self", "pictures", "batch"],
        "probabilities": ["self", "pictures"],
        "calibrated": ["self", "logits_NC"],
        "row": ["self", "logits_C"],
        "stream": ["self", "pictures", "batch"],
        "forward": ["self", "x_N3SS"],
    }
    public = {name: member for name, member in vars(Scorer).items() if not name.startswith("_")}
    assert {name: list(inspect.signature(getattr(Scorer, name)).parameters) for name in public} == methods
    scorer = Scorer(build_network("resnet8", 2), spec_of("resnet8", ("a", "b"), PREPROCESSING))
    assert set(vars(scorer)) == {
        *("network", "classes", "targets", "label_thresholds"),
        *("temperature", "threshold", "preprocessing"),
    }


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ({}, ["label", "probability", "confident", "distribution"]),
        ({"label_thresholds": (0.5, 0.5)}, ["label", "probability", "confident", "distribution"]),
        ({"targets": ("x", "y")}, ["x", "y"]),
    ],
)
def test_fields_of_a_prediction(kind, keys):
    classes = () if "targets" in kind else ("a", "b")
    scorer = Scorer(build_network("resnet8", 2), spec_of("resnet8", classes, PREPROCESSING, **kind))
    assert list(scorer.row(torch.zeros(2))) == keys


def test_tags():
    assert {tag.name: tag.value for tag in Tag} == {
        "CHECKOUT": "rootstock.checkout",
        "KEY": "rootstock.key",
        "PROOF": "rootstock.proof",
        "FILES": "rootstock.files",
        "VERDICT": "rootstock.verdict",
        "VERDICT_AGAINST": "rootstock.verdict.against",
        "VERDICT_WHY": "rootstock.verdict.why",
        "RELEASE": "rootstock.release",
        "RECIPE": "rootstock.recipe",
        "LEDGER": "rootstock.ledger",
        "DATA_MD5": "dvc.data_md5",
        "WEIGHTS_MD5": "dvc.weights_md5",
        "TEACHER_MD5": "dvc.teacher_md5",
        "GIT_COMMIT": "git.commit",
        "GIT_DIRTY": "git.dirty",
    }


def test_columns_of_predictions():
    """Tables in the registry and in users' folders have them; tests of evaluate and predict have the others."""
    assert LABEL_PROBABILITY == "label_probability"
    assert tuple((f"likeliest_{rank}", f"probability_{rank}") for rank in (1, 2, 3, 4, 5)) == LIKELIEST
    assert (Column.DISTRIBUTION, Column.PREDICTED, Column.PROBABILITY) == ("distribution", "predicted", "probability")
    assert PROBABILITIES == "probabilities"


def test_metrics_of_runs():
    """A run's metrics are slug/metric, such as tuned/accuracy, tuned/accuracy_low and tuned/accuracy_high."""
    assert {candidate.slug: candidate.value for candidate in Candidate} == {
        "mean": "mean of train",
        "scratch": "from scratch",
        "probe": "frozen + head",
        "tuned": "fine-tuned",
        "teacher": "teacher",
    }
    assert [metric.value for metric in Metric] == [
        *("accuracy", "macro_f1", "nll", "ece", "nll_uncalibrated", "ece_uncalibrated"),
        *("map", "r2", "mae", "rmse", "agreement", "scaled_mae"),
    ]
