from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from tasks.scorer.decode import Decoding, decode, decoded, orientation
from tasks.scorer.readers import READERS
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


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_each_orientation_is_pillows(kind, orientation):
    tag = Image.Exif()
    tag[0x0112] = orientation
    how = {"lossless": True} if kind == "WEBP" else {"quality": 100} if kind == "AVIF" else {}
    data = encoded(drawn("bar", 3, 32).crop((0, 0, 30, 20)), kind, exif=tag, **how)
    with Image.open(io.BytesIO(data)) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    assert decode(data).size == upright.size == ((30, 20) if orientation < 5 else (20, 30))
    assert decode(data).tobytes() == upright.tobytes()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "entry",
    [
        (282, 10, 1, b"\x26\0\0\0", b"\xff\xff\xff\xff\0\0\0\0"),  # a negative rational with denominator zero
        (282, 2, 3, b"72\0\0", b""),  # text where a number belongs
        (283, 5, 1, b"\xff\xff\xff\x7f", b""),  # an offset beyond the file
        (296, 3, 0, b"\2\0\0\0", b""),  # no value
        (306, 2, 2**31, b"\0\0\0\0", b""),  # text of two gigabytes
        (37500, 7, 2**32 - 1, b"\0\0\0\0", b""),  # a maker's note longer than the file
        (34665, 4, 1, b"\x08\0\0\0", b""),  # a directory that contains itself
        (34853, 4, 1, b"\xff\xff\xff\xff", b""),  # a directory beyond the file
        (33432, 99, 1, b"\0\0\0\0", b""),  # a type that does not exist
        (270, 2, 4, b"\xff\xfe\xfd\xfc", b""),  # text in no encoding
        (0, 0, 0, b"\0\0\0\0", b""),
        (65535, 12, 1, b"\xff\xff\xff\xff", b""),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_other_tags_do_not_matter_however_malformed(order, entry):
    tag, kind, count, value, extra = entry
    block = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}LH", 8, 2)
    block += struct.pack(f"{order}2HL", tag, kind, count) + value + struct.pack(f"{order}2HLH2x", 274, 3, 1, 6)
    block += bytes(4) + extra
    for kind in ("JPEG", "PNG", "WEBP"):
        data = encoded(Image.new("RGB", (20, 10)), kind, exif=b"Exif\0\0" + block)
        assert decode(data).size == (10, 20), kind


def test_the_orientation_of_old_programs_is_read_from_a_png():
    tag = Image.Exif()
    tag[0x0112] = 6
    data = tag.tobytes()
    for profile, size in ((data.hex(), (10, 20)), ("no digits", (20, 10)), ("", (20, 10))):
        text = PngInfo()
        text.add_text("Raw profile type exif", f"\nexif\n{len(data):8}\n{profile}\n", zip=True)
        assert decode(encoded(Image.new("RGB", (20, 10)), pnginfo=text)).size == size


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80))
def test_any_exif_gives_an_orientation(exif):
    image = Image.new("RGB", (2, 1))
    for start in (b"", b"Exif\0\0", b"Exif\0\0II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08"):
        image.info["exif"] = start + exif
        assert isinstance(orientation(image), int)


GLYPH = np.zeros((8, 8, 2), np.uint8)  # black on transparent
GLYPH[2:6, 3:5, 1] = 255
SOFT = GLYPH // 2  # half transparent


def with_transparency(kind: str, mode: str, glyph: np.ndarray = GLYPH) -> bytes:
    image = Image.fromarray(glyph, "LA")
    alpha = image.getchannel("A")
    if mode in {"LA", "RGBA"}:
        return encoded(image.convert(mode), kind, **({"lossless": True} if kind == "WEBP" else {}))
    is_clear = alpha.point(lambda value: 255 - value)
    if mode == "I;16":
        gray_HW = np.where(np.asarray(alpha) > 0, 0, 777).astype(np.uint16)
        return encoded(Image.fromarray(gray_HW), kind, transparency=777)
    flat = Image.new("L", image.size)
    flat.paste(9, mask=is_clear)
    if mode == "P":
        return encoded(flat.convert("P"), kind, transparency=9)
    return encoded(flat.convert(mode), kind, transparency=(9, 9, 9) if mode == "RGB" else 9)


TRANSPARENT = [
    *(("PNG", mode) for mode in ("RGBA", "LA", "P", "L", "RGB", "I;16")),
    *(("WEBP", "RGBA"), ("GIF", "P"), ("TIFF", "RGBA"), ("TIFF", "LA"), ("AVIF", "RGBA"), ("JPEG2000", "RGBA")),
    *(("TGA", "RGBA"), ("TGA", "LA")),
]


@pytest.mark.parametrize(("kind", "mode"), TRANSPARENT)
@pytest.mark.parametrize("background", [(255, 255, 255), (0, 0, 0), (10, 200, 30)])
def test_transparent_pixels_show_the_background(kind, mode, background):
    pixels = np.asarray(decode(with_transparency(kind, mode), None, Decoding(background=background))).astype(int)
    expected = np.where(GLYPH[..., 1:] == 255, 0, background)
    assert np.abs(pixels - expected).max() <= (12 if kind == "AVIF" else 0)


@pytest.mark.parametrize(("kind", "mode"), TRANSPARENT)
def test_a_large_image_is_converted_in_bands_to_the_same_pixels(kind, mode, monkeypatch):
    data = with_transparency(kind, mode)
    whole = decode(data).tobytes()
    monkeypatch.setattr("tasks.scorer.decode.BAND", 70)
    assert decode(data).tobytes() == whole


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_gray_of_16_bits_is_converted_in_bands_to_the_same_pixels(kind, monkeypatch):
    gray_HW = np.random.default_rng(0).integers(0, 65536, (33, 20), np.uint16)
    data = b"P5 20 33 65535\n" + gray_HW.astype(">u2").tobytes()
    data = data if kind == "PPM" else encoded(Image.fromarray(gray_HW), kind)
    whole = decode(data).tobytes()
    monkeypatch.setattr("tasks.scorer.decode.BAND", 70)
    assert decode(data).tobytes() == whole


@pytest.mark.parametrize(("kind", "mode"), [("PNG", "RGBA"), ("PNG", "LA"), ("WEBP", "RGBA"), ("TIFF", "RGBA")])
def test_half_transparent_pixels_are_mixed_with_the_background(kind, mode):
    pixels = np.asarray(decode(with_transparency(kind, mode, SOFT)))
    assert pixels[3, 3].tolist() == [128] * 3
    assert pixels[0, 0].tolist() == [255] * 3


def test_drawings_on_transparent_ground_differ():
    drawings = []
    for shape in ("bar", "disc", "ring"):
        mask = drawn(shape, 1).convert("L").point(lambda value: 255 * (value > 90))
        image = Image.new("RGBA", mask.size)
        image.putalpha(mask)
        drawings.append(decode(encoded(image)).tobytes())
    assert len(set(drawings)) == 3


def test_a_version_without_settings_ignores_transparency_as_it_did():
    old = Decoding.of(None)
    for kind, mode in TRANSPARENT:
        data = with_transparency(kind, mode)
        if mode != "I;16":
            with Image.open(io.BytesIO(data)) as image:
                assert decode(data, None, old).tobytes() == image.convert("RGB").tobytes(), (kind, mode)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(
        [
            *(("PNG", "RGB"), ("PNG", "L"), ("PNG", "1"), ("PNG", "P"), ("PNG", "RGBA"), ("JPEG", "RGB")),
            *(("JPEG", "CMYK"), ("BMP", "RGB"), ("GIF", "L"), ("TIFF", "RGB"), ("WEBP", "RGB"), ("PPM", "RGB")),
            ("AVIF", "RGB"),
        ]
    ),
    st.integers(0, 10**6),
    st.integers(1, 40),
    st.integers(1, 40),
)
def test_ordinary_images_are_decoded_as_pillow_does(stored, seed, width, height):
    kind, mode = stored
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    data = encoded(Image.fromarray(pixels).convert(mode), kind)
    with Image.open(io.BytesIO(data)) as image:
        assert decode(data).tobytes() == ImageOps.exif_transpose(image).convert("RGB").tobytes()


def test_only_the_first_frame_of_an_animation_is_decoded():
    frames = [Image.new("RGB", (16, 16), color) for color in ("red", "lime", "blue")]
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        assert decode(data).getpixel((3, 3))[0] > 240, kind


def empty_png(width: int, height: int) -> bytes:
    """Returns the start of a large PNG: its header and some compressed zeros."""
    header = struct.pack(">2L5B", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    parts = (
        struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("size", [(13_000, 13_000), (10_001, 10_000), (2**31 - 1, 1), (2**31 - 1, 2**31 - 1)])
def test_an_image_with_too_many_pixels_is_refused_before_it_is_decoded(size):
    with pytest.raises(ValueError, match=f"{size[0]} x {size[1]} pixels are more than data.max_pixels, 100000000"):
        decode(empty_png(*size))
    with pytest.raises(ValueError, match=r"data\.max_pixels, 99"):
        decode(encoded(Image.new("RGB", (10, 10))), None, Decoding(max_pixels=99))
    assert decode(encoded(Image.new("RGB", (10, 10))), None, Decoding(max_pixels=100)).size == (10, 10)


@pytest.mark.parametrize(("kind", "copies"), [("WEBP", 2), ("AVIF", 2), ("JPEG2000", 3)])
def test_pixels_count_several_times_where_the_decoder_holds_them_several_times(kind, copies):
    data = encoded(Image.new("RGB", (64, 64)), kind)
    assert decode(data, None, Decoding(max_pixels=copies * 64 * 64)).size == (64, 64)
    with pytest.raises(ValueError, match=f"64 x 64 pixels, each counted {copies} times in {kind}, are more than"):
        decode(data, None, Decoding(max_pixels=copies * 64 * 64 - 1))


@pytest.mark.parametrize("size", [(2**20 + 1, 1), (1, 90_000_000)])
def test_an_image_with_a_very_long_side_is_refused(size):
    with pytest.raises(ValueError, match="no side may be longer than 1048576"):
        decode(empty_png(*size))


def test_pixels_of_a_jpeg_are_counted_after_its_reduction_unless_libjpeg_holds_all_of_it():
    image, limit = Image.new("RGB", (800, 640)), Decoding(max_pixels=100 * 80)
    assert decode(encoded(image, "JPEG"), 64, limit).size == (100, 80)
    for data in (encoded(image, "JPEG"), encoded(image, "PNG")):
        with pytest.raises(ValueError, match="800 x 640 pixels"):
            decode(data, None, limit)
    with pytest.raises(ValueError, match="800 x 640 pixels"):
        decode(encoded(image, "JPEG", progressive=True), 64, limit)
    one_scan = encoded(image, "JPEG")
    start = one_scan.index(b"\xff\xda") + 4
    several = one_scan[:start] + b"\1" + one_scan[start + 1 :]
    with pytest.raises(ValueError, match="800 x 640 pixels"):
        decode(several, 64, limit)


def test_the_white_level_is_that_of_the_data_set():
    gray_HW = np.array([[0, 2048, 4095, 5000]], np.uint16)
    for kind in ("PNG", "TIFF"):
        data = encoded(Image.fromarray(gray_HW), kind)
        assert np.asarray(decode(data, None, Decoding(white_level=4095)))[0, :, 0].tolist() == [0, 127, 255, 255]
    declared = b"P5 4 1 65535\n" + gray_HW.astype(">u2").tobytes()
    assert np.asarray(decode(declared, None, Decoding(white_level=4095)))[0, :, 0].tolist() == [0, 7, 15, 19]


def twelve_bit_tiff(values: list[int]) -> bytes:
    """Returns a TIFF of one row whose values have 12 bits, two in three bytes."""
    packed = sum(value << 12 * (len(values) - 1 - place) for place, value in enumerate(values)).to_bytes(
        len(values) * 3 // 2
    )
    tags = [
        (256, len(values)),
        (257, 1),
        (258, 12),
        (259, 1),
        (262, 1),
        (273, 134),
        (277, 1),
        (278, 1),
        (279, len(packed)),
    ]
    entries = b"".join(struct.pack("<2H2L", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<LH", 8, len(tags)) + entries + bytes(134 - 10 - len(entries)) + packed


def test_gray_of_12_bits_is_scaled_by_what_its_file_declares():
    with decoded(twelve_bit_tiff([0, 2048, 4095, 1024])) as image:
        assert np.asarray(image.rgb)[0, :, 0].tolist() == [0, 127, 255, 63]
        assert image.peak is None
    with decoded(encoded(Image.fromarray(np.array([[7, 4095]], np.uint16)), "TIFF")) as image:
        assert image.peak == 4095


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(
    st.sampled_from(sorted(READERS)),
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
