from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from tasks.scorer.answer import Scorer, spec_of
from tasks.scorer.network import build_network
from tasks.scorer.preprocessing import Preprocessing
from tests.drawn import SHAPES, drawn, encoded
from tests.scorer.architectures import norms

PREPARE = Preprocessing(resize=36, crop=32, mean=(0.5,) * 3, std=(0.25,) * 3, interpolation="bilinear")


@pytest.fixture
def scorer(tmp_path):
    network = build_network("shufflenet_v2_x0_5", 3)
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, tmp_path / "w.safetensors")
    spec = spec_of("shufflenet_v2_x0_5", SHAPES, PREPARE, temperature=2.0)
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    return Scorer.load(tmp_path / "spec.json", tmp_path / "w.safetensors")


@pytest.mark.parametrize("count", [0, 1, 2, 5, 130])
def test_any_number_of_images(scorer, count):
    images = [encoded(drawn(SHAPES[n % 3], n)) for n in range(count)]
    probabilities = scorer.probabilities(images)
    assert probabilities.shape == (count, 3)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(count))


def test_a_prediction_does_not_depend_on_its_batch(scorer):
    images = [encoded(drawn("bar", n)) for n in range(9)]
    together = scorer.logits(images, batch=4)
    alone = torch.cat([scorer.logits([image]) for image in images])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


def test_a_scorer_runs_a_folded_network(scorer):
    assert norms(scorer.network) == 0


def test_the_temperature_divides_the_logits(scorer):
    images = [encoded(drawn("bar", 0))]
    torch.testing.assert_close(scorer.probabilities(images), (scorer.logits(images) / 2).softmax(1))


def test_a_broken_image_is_an_error_and_never_black(scorer):
    with pytest.raises(ValueError, match="not an image"):
        scorer.logits([encoded(drawn("bar", 0)), b"junk"])
