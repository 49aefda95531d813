from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from tasks.scorer.scorer import Preprocessing, decode
from tests.drawn import drawn, encoded


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
