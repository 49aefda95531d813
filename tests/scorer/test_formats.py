"""Files of all kinds are recognized by their first bytes; no other format reaches Pillow's readers."""

from __future__ import annotations

import io
import struct
import sys

import pytest
from PIL import Image, features

from tasks.scorer import readers
from tasks.scorer.decode import decode
from tasks.scorer.formats import HEAD, described, format_of
from tasks.scorer.readers import CODECS, READERS, is_tga, opened
from tests.drawn import drawn, encoded

TEXT = bytes(range(33, 127)) * 10
KINDS = {
    b"": "an empty file",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n": "a Git LFS pointer",
    b"/annex/objects/SHA256E-s9--0.jpg\n": "a git-annex pointer",
    b"\n <!DOCTYPE html><html><head><title>Sign in</title>": "an HTML page",
    b"<HTML><BODY>404": "an HTML page",
    b'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml">': "an HTML page",
    b'<?xml version="1.0"?>\n<!-- a --><svg width="9">': "SVG",
    b"\xef\xbb\xbf<svg/>": "SVG",
    b"%PDF-1.7\n%\xe2\xe3": "PDF",
    b"%!PS-Adobe-3.0 EPSF-3.0": "PostScript",
    b"\xc5\xd0\xd3\xc6\x1e\0": "PostScript",
    b"8BPS\0\1": "a Photoshop document",
    b"\xff\x0a\xfa\x1f": "JPEG XL",
    b"\0\0\0\x0cJXL \r\n\x87\n": "JPEG XL",
    b"II*\0\x10\0\0\0CR\2\0": "a camera's RAW file",
    b"\0\0\0\x18ftypcrx \0\0": "a camera's RAW file",
    b"FUJIFILMCCD-RAW 0201": "a camera's RAW file",
    b"IIU\0\x18\0": "a camera's RAW file",
    b"\0\0\0\x18ftypisom\0\0\0\1": "a video",
    b"\0\0\0\x14ftypqt  ": "a video",
    b"\x1a\x45\xdf\xa3\x01": "a video",
    b"RIFF\x10\0\0\0AVI LIST": "a video",
    b"PK\3\4\x14\0": "an archive",
    b"\x1f\x8b\x08\0": "an archive",
    b"\0\0\1\0\1\0": "an icon",
    b"\x93NUMPY\1\0": "a NumPy array",
    bytes(128) + b"DICM": "a DICOM file",
    bytes(40): "a file of zeros",
    b'{"label": "cat"}': "text",
    TEXT: "text",
    b"\x01\x02\x03junk": "in no supported format",
}


@pytest.mark.parametrize(("content", "kind"), KINDS.items(), ids=[str(number) for number in range(len(KINDS))])
def test_what_is_no_image_says_what_it_is(content, kind):
    assert format_of(content) is None
    assert described(content).startswith(kind)
    with pytest.raises(ValueError, match=r"^not an image but "):
        decode(content)


@pytest.mark.parametrize("kind", sorted(READERS))
def test_each_format_is_recognized_and_decoded(kind):
    if kind in CODECS:
        assert features.check(CODECS[kind])
    data = encoded(drawn("disc", 1), kind)
    assert format_of(data[:HEAD]) == (None if kind == "TGA" else kind)
    assert decode(data).size == (32, 32)


@pytest.mark.parametrize("kind", ["EPS", "ICO", "PCX", "SGI", "IM", "MSP", "XBM", "DDS", "BLP", "PDF", "ICNS"])
def test_a_format_that_is_not_on_the_list_is_not_read_although_pillow_could(kind):
    image = drawn("disc", 1).convert({"MSP": "1", "XBM": "1", "BLP": "P"}.get(kind, "RGB"))
    with pytest.raises(ValueError, match=r"^not an image but "):
        decode(encoded(image, kind))


def test_no_postscript_is_run(monkeypatch, tmp_path):
    script = tmp_path / "gs"
    script.write_text(f"#!/bin/sh\ntouch {tmp_path}/run\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(ValueError, match="PostScript"):
        decode(encoded(drawn("disc", 1), "EPS"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("compression", "mode"), [(None, "RGB"), ("tga_rle", "RGB"), (None, "L"), (None, "P"), (None, "RGBA")]
)
def test_tga_is_recognized_by_a_possible_header(compression, mode):
    image = drawn("disc", 1).convert(mode)
    data = encoded(image, "TGA", **({"compression": compression} if compression else {}))
    assert is_tga(data)
    assert decode(data).tobytes() == image.convert("RGB").tobytes()
    assert not is_tga(data[:30]) or compression
    for place, value in ((1, 7), (2, 5), (16, 7), (17, 200)):
        assert not is_tga(data[:place] + bytes([value]) + data[place + 1 :])


@pytest.mark.parametrize("tags", [{50706: b"\1\4\0\0"}, {254: 1, 330: 8}])
def test_a_thumbnail_of_a_camera_is_not_taken_for_the_photo(tags):
    data = encoded(drawn("disc", 1), "TIFF", tiffinfo=tags)
    with pytest.raises(ValueError, match="RAW"):
        opened(data)


def test_heic_needs_a_package_which_is_used_if_it_is_installed(monkeypatch):
    data = b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(30)
    assert format_of(data) == "HEIF"
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ValueError, match="pip install pillow-heif"):
        decode(data)

    class Package:
        HeifImageFile = staticmethod(lambda _file: READERS["PNG"](io.BytesIO(encoded(drawn("bar", 1)))))

    monkeypatch.setitem(sys.modules, "pillow_heif", Package)
    assert decode(data).size == (32, 32)


def test_avif_is_told_from_heic_by_its_brands():
    box = lambda *brands: struct.pack(">L", 16 + 4 * len(brands)) + b"ftypmif1\0\0\0\0" + b"".join(brands)  # noqa: E731
    assert format_of(box(b"mif1", b"avif")) == "AVIF"
    assert format_of(box(b"mif1", b"heic")) == "HEIF"
    assert format_of(box(b"msf1")) == "HEIF"


def test_a_format_that_pillow_was_built_without_is_refused_by_name(monkeypatch):
    monkeypatch.setattr(readers.features, "check", lambda _name: False)
    with pytest.raises(ValueError, match="this build of Pillow cannot decode it"):
        opened(encoded(Image.new("RGB", (8, 8)), "AVIF"))
