from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tasks.scorer.decode import decode
from tests.drawn import drawn, encoded


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("RGB", "PNG"), ("L", "PNG"), ("RGBA", "PNG"), ("P", "GIF"), ("CMYK", "JPEG"), ("1", "PNG"), ("I;16", "PNG")],
)
def test_every_stored_mode_becomes_rgb(mode, kind):
    image = Image.new("L", (20, 10), 200).convert("I;16" if mode == "I;16" else mode)
    decoded = decode(encoded(image, kind))
    assert (decoded.mode, decoded.size) == ("RGB", (20, 10))


def test_gray_of_16_bits_is_scaled_and_of_32_bits_is_refused():
    gray = np.array([[0, 257 * 100, 65535]], np.uint16)
    for kind in ("PNG", "TIFF"):
        assert np.asarray(decode(encoded(Image.fromarray(gray), kind)))[0, :, 0].tolist() == [0, 100, 255]
    assert np.asarray(decode(b"P5 3 1 65535\n" + gray.astype(">u2").tobytes()))[0, :, 0].tolist() == [0, 100, 255]
    assert np.asarray(decode(b"P2 3 1 1023\n0 512 1023\n"))[0, :, 0].tolist() == [0, 127, 255]
    for wide in (np.int32, np.float32):
        with pytest.raises(ValueError, match="32 bits per pixel"):
            decode(encoded(Image.fromarray(gray.astype(wide)), "TIFF"))


def test_images_are_turned_upright():
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
def test_broken_bytes_give_a_reason_or_an_image_and_nothing_else(kind, place, junk, end):
    data = encoded(drawn("disc", 1), kind)
    place, end = place % len(data), end % len(data) + 1
    broken = (data[:place] + junk + data[place + len(junk) :])[:end]
    try:
        image = decode(broken)
    except ValueError as error:
        reason = str(error)
    else:
        reason = image.mode
    assert reason
