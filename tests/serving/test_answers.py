"""Answers of each kind of target by a real scorer."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tasks.core.target import TargetKind
from tasks.scorer.answer import Scorer, spec_of
from tasks.scorer.network import build_network
from tasks.scorer.preprocessing import Preprocessing
from tasks.serving.answers import Extras, answer_of
from tasks.serving.engine import Engine
from tasks.serving.output_tensors import metadata, output_tensors
from tests.registered.drawing import picture

CLASSES = ("a", "b", "c")
PREPROCESSING = Preprocessing(32, 32, (0.5,) * 3, (0.5,) * 3, "bilinear")


def engine(kind, max_pixels=10**6):
    spec = {
        TargetKind.CLASSIFICATION: spec_of("resnet8", CLASSES, PREPROCESSING, temperature=2.0, threshold=0.4),
        TargetKind.MULTILABEL: spec_of("resnet8", CLASSES, PREPROCESSING, label_thresholds=(0.1, 0.5, 0.99)),
        TargetKind.REGRESSION: spec_of("resnet8", (), PREPROCESSING, targets=("x", "y")),
    }[kind]
    return Engine(Scorer(build_network("resnet8", len(spec["classes"] or spec["targets"])), spec), kind, max_pixels)


def asked(served, **extras):
    chosen = Extras(**extras)
    return answer_of(served, served.of_picture(picture(1), embed=chosen.embedding), chosen)


def test_a_class_has_calibrated_probability_and_runner_up():
    served = engine(TargetKind.CLASSIFICATION)
    answer = asked(served, distribution=True)
    row = served.scorer.row(served.scorer.logits([picture(1)])[0])
    assert answer["label"] == row["label"]
    assert answer["distribution"] == pytest.approx(row["distribution"], abs=1e-6)
    ranked = sorted(answer["distribution"], key=answer["distribution"].get, reverse=True)
    assert [answer["label"], answer["runner_up"]["label"]] == ranked[:2]
    assert answer["confident"] == (answer["probability"] >= 0.4)
    assert "distribution" not in asked(served)


def test_all_labels_that_reach_their_thresholds_are_listed():
    served = engine(TargetKind.MULTILABEL)
    answer = asked(served, distribution=True)
    expected = [
        name for name, low in zip(CLASSES, (0.1, 0.5, 0.99), strict=True) if answer["distribution"][name] >= low
    ]
    assert answer["labels"] == expected
    assert "label" not in answer


def test_targets_have_values():
    assert asked(engine(TargetKind.REGRESSION), distribution=True)["values"].keys() == {"x", "y"}


@pytest.mark.parametrize("kind", TargetKind)
def test_the_embedding_is_what_the_head_computes_the_same_answer_from(kind):
    served = engine(kind)
    plain, embedded = served.of_picture(picture(2)), served.of_picture(picture(2), embed=True)
    assert torch.equal(plain.logits_C, embedded.logits_C)
    with torch.inference_mode():
        assert torch.equal(served.scorer.network.head(embedded.feature_D[None])[0], plain.logits_C)
    assert len(asked(served, embedding=True)["embedding"]) == len(embedded.feature_D)


@pytest.mark.parametrize("kind", TargetKind)
def test_all_outputs_of_the_protocol_are_as_their_metadata_say(kind):
    served = engine(kind)
    outputs = [served.of_picture(picture(number), embed=True) for number in range(2)]
    described = {each["name"]: each for each in metadata(served, "m", "1")["outputs"]}
    tensors = output_tensors(served, outputs, list(described))
    assert [tensor.name for tensor in tensors] == list(described)
    for tensor in tensors:
        assert tensor.datatype == described[tensor.name]["datatype"]
        assert len(tensor.shape) == len(described[tensor.name]["shape"])
        assert tensor.shape[0] == len(tensor.values) == 2
        assert all(
            size in {-1, length} for size, length in zip(described[tensor.name]["shape"], tensor.shape, strict=True)
        )


def test_a_picture_with_too_many_pixels_or_outputs_that_are_not_finite_have_a_reason():
    with pytest.raises(ValueError, match="accepts"):
        engine(TargetKind.CLASSIFICATION, max_pixels=100).of_picture(picture(1))
    served = engine(TargetKind.CLASSIFICATION)
    with pytest.raises(ValueError, match="finite"):
        served.of_input(torch.from_numpy(np.full((1, 3, 32, 32), np.nan, np.float32)))
