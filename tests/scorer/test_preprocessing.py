from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from tasks.scorer import preprocessing
from tasks.scorer.decode import Decoding, decode
from tasks.scorer.preprocessing import Preprocessing
from tests.drawn import drawn, encoded

SIZES = [(36, 36), (50, 40), (40, 90), (33, 47), (300, 200), (37, 36), (36, 39), (101, 77), (77, 102), (500, 333)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("sides", [(36, 32), (35, 32), (37, 32), (38, 31), (32, 32), (33, 32)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_preprocessing_is_torchvisions(size, sides, interpolation):
    """Also where margins are odd, which torchvision rounds to even numbers."""
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms._presets import ImageClassification

    resize, crop = sides
    ours = Preprocessing(resize, crop, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), interpolation)
    theirs = ImageClassification(
        crop_size=crop, resize_size=resize, interpolation=InterpolationMode(interpolation), antialias=True
    )
    image = drawn("ring", 3, 400).resize(size)
    torch.testing.assert_close(ours([image])[0], theirs(image), atol=1e-5, rtol=0)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_normalizing_is_per_channel_and_leaves_its_input_alone(layout):
    x = torch.rand(2, 3, 32, 30).to(memory_format=layout)
    before = x.clone()
    prepare = Preprocessing(36, 32, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear")
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (prepare.mean, prepare.std))
    assert torch.equal(prepare.normalize(x), (x - mean) / std)
    assert torch.equal(x, before)


def test_a_large_jpeg_is_decoded_at_a_reduced_size_and_looks_the_same():
    """Even noise, the hardest case, differs by at most 1.5 of 255 on average, and by six for 99 of 100 pixels."""
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


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    "size", [(2000, 40), (40, 2000), (700, 40), (40, 701), (1500, 31), (31, 1501), (900, 3), (3, 901)]
)
@pytest.mark.parametrize("side", [32, 33, 64])
def test_the_center_of_a_strip_is_as_if_all_of_it_were_resized(size, side, interpolation, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    prepare = Preprocessing(side, side, (0.5,) * 3, (0.5,) * 3, interpolation)
    center = prepare.square(Image.fromarray(noise)).int()
    monkeypatch.setattr(preprocessing, "STRIP", 10**9)
    assert (center - prepare.square(Image.fromarray(noise)).int()).abs().max() <= 1


def test_ordinary_images_are_resized_whole(monkeypatch):
    monkeypatch.setattr(preprocessing, "_part_of_strip", None)
    prepare = Preprocessing(32, 32, (0.5,) * 3, (0.5,) * 3, "bilinear")
    for size in ((32, 32), (640, 480), (480, 1600), (1600, 100)):
        assert prepare.square(Image.new("RGB", size)).shape == (3, 32, 32)


@pytest.mark.parametrize("size", [(100_000, 1), (1, 100_000), (60_000, 7), (5_000_000, 1), (3, 1_000_000)])
@pytest.mark.parametrize("letterbox", [False, True])
def test_a_strip_takes_no_more_memory_than_a_square(size, letterbox, monkeypatch):
    sizes, real = [], Image.Image.resize

    def resize(image, size, *more):
        sizes.append(size[0] * size[1])
        return real(image, size, *more)

    monkeypatch.setattr(Image.Image, "resize", resize)
    prepare = Preprocessing(232, 224, (0.5,) * 3, (0.5,) * 3, "bicubic", letterbox)
    square = prepare.square(Image.new("RGB", size, (10, 20, 30)))
    assert square.shape == (3, 232, 232)
    assert square[:, 116, 116].tolist() == [10, 20, 30]
    assert max(sizes) <= 232 * 300


def test_json_of_an_earlier_version_has_the_earlier_meaning():
    prepare = Preprocessing(32, 32, (0.5,) * 3, (0.5,) * 3, "bilinear")
    fields = asdict(prepare)
    assert Preprocessing.of(fields) == prepare
    assert Preprocessing.of(json.loads(json.dumps(fields))) == prepare
    black = replace(prepare, decoding=Decoding(10, None, 4095))
    assert Preprocessing.of(json.loads(json.dumps(asdict(black)))) == black
    del fields["decoding"]
    assert Preprocessing.of(fields).decoding == Decoding(None, None, 65535)


def test_transparent_images_are_put_on_the_background_of_the_data():
    data = encoded(Image.new("RGBA", (40, 40)), "PNG")
    for color in ((255, 255, 255), (1, 2, 3)):
        prepare = Preprocessing(32, 32, (0.5,) * 3, (0.5,) * 3, "bilinear", decoding=Decoding(background=color))
        assert prepare.read(data)[:, 5, 5].tolist() == list(color)
