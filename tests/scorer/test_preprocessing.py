from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from tasks.scorer.decode import decode
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
