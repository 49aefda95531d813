from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter
from safetensors.torch import save_file
from torch import nn

from tasks.scorer.scorer import Preprocessing, Scorer, build_backbone, build_network, decode, folded, spec_of
from tests.drawn import SHAPES, drawn
from tests.scorer.architectures import side_of

PREPARE = Preprocessing(resize=36, crop=32, mean=(0.5,) * 3, std=(0.25,) * 3, interpolation="bilinear")


def encoded(picture, kind="PNG", **how):
    file = io.BytesIO()
    picture.save(file, kind, **how)
    return file.getvalue()


@pytest.fixture
def scorer(tmp_path):
    network = build_network("shufflenet_v2_x0_5", 3)
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, tmp_path / "w.safetensors")
    spec = spec_of("shufflenet_v2_x0_5", SHAPES, PREPARE, temperature=2.0)
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    return Scorer.load(tmp_path / "spec.json", tmp_path / "w.safetensors")


@pytest.mark.parametrize("size", [(36, 36), (50, 40), (40, 90), (33, 47), (300, 200)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_preprocessing_is_torchvisions(size, interpolation):
    """Odd margins may round to the other side: at most one pixel apart."""
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms._presets import ImageClassification

    ours = Preprocessing(36, 32, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), interpolation)
    theirs = ImageClassification(
        crop_size=32, resize_size=36, interpolation=InterpolationMode(interpolation), antialias=True
    )
    picture = drawn("ring", 3, 400).resize(size)
    x, y = ours([picture])[0], theirs(picture)
    rolled = [torch.roll(y, shift, axis) for shift in (-1, 0, 1) for axis in (1, 2)]
    assert min((x - other)[:, 2:-2, 2:-2].abs().max().item() for other in rolled) < 1e-5


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_normalising_is_each_channels_own_and_leaves_what_was_given(layout):
    x = torch.rand(2, 3, 32, 30).to(memory_format=layout)
    before = x.clone()
    prepare = Preprocessing(36, 32, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear")
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (prepare.mean, prepare.std))
    assert torch.equal(prepare.normalise(x), (x - mean) / std)
    assert torch.equal(x, before)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("RGB", "PNG"), ("L", "PNG"), ("RGBA", "PNG"), ("P", "GIF"), ("CMYK", "JPEG"), ("1", "PNG"), ("I;16", "PNG")],
)
def test_every_stored_mode_becomes_rgb(mode, kind):
    picture = Image.new("L", (20, 10), 200).convert("I;16" if mode == "I;16" else mode)
    decoded = decode(encoded(picture, kind))
    assert (decoded.mode, decoded.size) == ("RGB", (20, 10))


def test_grey_of_16_bits_is_scaled_and_of_32_refused():
    grey = np.array([[0, 257 * 100, 65535]], np.uint16)
    for kind in ("PNG", "TIFF"):
        assert np.asarray(decode(encoded(Image.fromarray(grey), kind)))[0, :, 0].tolist() == [0, 100, 255]
    assert np.asarray(decode(b"P5 3 1 65535\n" + grey.astype(">u2").tobytes()))[0, :, 0].tolist() == [0, 100, 255]
    assert np.asarray(decode(b"P2 3 1 1023\n0 512 1023\n"))[0, :, 0].tolist() == [0, 127, 255]
    for wide in (np.int32, np.float32):
        with pytest.raises(ValueError, match="grey in 32 bits"):
            decode(encoded(Image.fromarray(grey.astype(wide)), "TIFF"))


def test_pictures_are_turned_upright():
    lying = Image.new("RGB", (20, 10))
    tag = Image.Exif()
    tag[0x0112] = 6
    assert decode(encoded(lying, "JPEG", exif=tag)).size == (10, 20)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(
    st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"]),
    st.integers(0, 10**6),
    st.binary(max_size=6),
    st.integers(0, 10**6),
)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
def test_broken_bytes_give_a_reason_or_a_picture_and_nothing_else(kind, place, junk, end):
    data = encoded(drawn("disc", 1), kind)
    place, end = place % len(data), end % len(data) + 1
    broken = (data[:place] + junk + data[place + len(junk) :])[:end]
    try:
        picture = decode(broken)
    except ValueError as error:
        reason = str(error)
    else:
        reason = picture.mode
    assert reason


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


def test_a_large_jpeg_is_decoded_at_a_reduced_size_and_looks_the_same():
    """Even noise, the hardest of pictures, within 1.5 of 255 on average, and six for 99 of 100 pixels."""
    noise = np.random.default_rng(0).integers(0, 255, (150, 200, 3), np.uint8)
    large = Image.fromarray(noise).resize((1600, 1200), Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(2))
    data = encoded(large, "JPEG", quality=92)
    assert decode(data, 2 * 256).size == (800, 600)
    assert decode(data, 2 * 64).size == (200, 150)
    assert decode(encoded(large, "PNG"), 2 * 64).size == (1600, 1200)
    for side in (64, 256):
        prepare = Preprocessing(side, side, (0.5,) * 3, (0.5,) * 3, "bilinear")
        error = (prepare.read(data).int() - prepare.square(decode(data)).int()).abs().float()
        assert error.mean() < 1.5
        assert error.quantile(0.99) <= 6
