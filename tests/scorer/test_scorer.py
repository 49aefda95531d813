from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tasks.scorer.scorer import Preprocessing, Scorer, build_backbone, build_network, folded, spec_of
from tests.drawn import SHAPES, drawn, encoded
from tests.scorer.architectures import side_of

PREPARE = Preprocessing(resize=36, crop=32, mean=(0.5,) * 3, std=(0.25,) * 3, interpolation="bilinear")


@pytest.fixture
def scorer(tmp_path):
    network = build_network("shufflenet_v2_x0_5", 3)
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, tmp_path / "w.safetensors")
    spec = spec_of("shufflenet_v2_x0_5", SHAPES, PREPARE, temperature=2.0)
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    return Scorer.load(tmp_path / "spec.json", tmp_path / "w.safetensors")


@pytest.mark.parametrize("count", [0, 1, 2, 5, 130])
def test_any_count_of_pictures(scorer, count):
    pictures = [encoded(drawn(SHAPES[n % 3], n)) for n in range(count)]
    probabilities = scorer.probabilities(pictures)
    assert probabilities.shape == (count, 3)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(count))


def test_an_answer_does_not_depend_on_its_company(scorer):
    pictures = [encoded(drawn("bar", n)) for n in range(9)]
    together = scorer.logits(pictures, batch=4)
    alone = torch.cat([scorer.logits([picture]) for picture in pictures])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


def test_a_scorer_answers_by_a_folded_network(scorer):
    assert norms(scorer.network) == 0


def test_the_temperature_divides_the_logits(scorer):
    pictures = [encoded(drawn("bar", 0))]
    torch.testing.assert_close(scorer.probabilities(pictures), (scorer.logits(pictures) / 2).softmax(1))


def test_a_broken_picture_is_an_error_and_never_black(scorer):
    with pytest.raises(ValueError, match="not an image"):
        scorer.logits([encoded(drawn("bar", 0)), b"junk"])


@pytest.mark.parametrize(
    ("architecture", "width"),
    [
        ("resnet10", 512),
        ("resnet18", 512),
        ("mobilenet_v2", 1280),
        ("squeezenet1_1", 512),
        ("shufflenet_v2_x0_5", 1024),
        ("efficientnet_b0", 1280),
    ],
)
def test_backbones_give_flat_features_of_the_width_they_say(architecture, width):
    backbone, found = build_backbone(architecture)
    with torch.inference_mode():
        assert backbone.eval()(torch.zeros(2, 3, 64, 64)).shape == (2, width)
    assert found == width


@pytest.mark.parametrize(
    "architecture",
    [
        *("resnet10", "resnet8", "mobilenet_v2", "shufflenet_v2_x0_5", "googlenet", "vgg11_bn"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("densenet121", "efficientnet_b0", "maxvit_t")),
    ],
)
def test_folded_it_answers_the_same_and_what_was_given_stays_as_it_was(architecture):
    backbone = build_backbone(architecture)[0].eval()
    for layer in backbone.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.weight, layer.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
            for tensor in (layer.bias, layer.running_mean):
                nn.init.normal_(tensor, 0.0, 0.1)
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    answering = folded(backbone)
    assert norms(answering) < 0.6 * norms(backbone)  # some follow no convolution
    x = torch.randn(2, 3, side_of(architecture), side_of(architecture))
    with torch.inference_mode():
        torch.testing.assert_close(answering(x), backbone(x), atol=1e-4, rtol=1e-4)
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.state_dict().items())


def norms(network):
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())


class Changing(nn.Module):
    """A network whose path depends on its input."""

    def __init__(self):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x):
        return self.norm(self.convolution(x)) if x.sum() > 0 else x


@pytest.mark.parametrize("network", [Changing(), nn.Sequential(nn.Flatten(), nn.Linear(12, 2))])
def test_what_cannot_be_folded_is_itself(network):
    assert folded(network) is network
