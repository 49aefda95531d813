"""Decodes image files to upright RGB images with only Pillow and NumPy, without torch."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from .memory import MEMORY
from .readers import opened

WHITE_LEVEL = 2**16 - 1  # of gray with 16 bits
BITS_PER_SAMPLE = 258  # tag of TIFF
MAX_SIDE = 2**20  # pixels
COPIES = {"WEBP": 2, "AVIF": 2, "HEIF": 2, "JPEG2000": 3}  # memory of decoders that hold images several times
BAND = 2**22  # pixels that are converted at a time
ORIENTATION = 274  # tag of EXIF
TRANSPOSED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Decoding:
    """The largest image in pixels, the color behind transparent images, and the white level of 16-bit gray.

    None, the meaning for versions that were registered without these settings: no limit; transparency is ignored.
    """

    max_pixels: int | None = 100_000_000
    background: tuple[int, int, int] | None = (255, 255, 255)
    white_level: int = WHITE_LEVEL

    @classmethod
    def of(cls, fields: dict[str, Any] | None) -> Decoding:
        """Builds the settings from their JSON form, in which the color is a list; None is the JSON without them."""
        if fields is None:
            return cls(max_pixels=None, background=None)
        return cls(**{**fields, "background": fields["background"] and tuple(fields["background"])})


DEFAULT = Decoding()


def decode(data: bytes, least: int | None = None, decoding: Decoding = DEFAULT) -> Image.Image:
    """Decodes an image file to an upright RGB image. Raises ValueError with the reason if it is broken or too large.

    With `least`, a JPEG may be decoded at a reduced size that has at least that many pixels on its shorter side.
    """
    with decoded(data, least, decoding) as image:
        return image.rgb


class Decoded(NamedTuple):
    """An upright RGB image, Pillow's mode of the stored image, and the largest value of 16-bit gray, None if scaled."""

    rgb: Image.Image
    mode: str
    peak: int | None


@contextmanager
def decoded(data: bytes, least: int | None = None, decoding: Decoding = DEFAULT) -> Iterator[Decoded]:
    """Decodes like `decode`. Until the context ends, the pixels count in MEMORY, so that large images take turns."""
    stored = opened(data)
    full, mode = stored.size, stored.mode
    if least:
        stored.draft(None, (least, least))
    reserved = _pixels(full if _is_buffered(stored) else stored.size, str(stored.format), decoding)
    with MEMORY.reserve(reserved):
        try:
            peak, rgb = _peak(stored), upright_rgb(stored, decoding)
        except Exception as error:  # Pillow's decoders raise all kinds of exceptions for broken files
            raise ValueError(f"broken image: {error}") from None
        yield Decoded(rgb, mode, peak)


def _pixels(size: tuple[int, int], kind: str, decoding: Decoding) -> int:
    """Returns the number of pixels to decode. Raises ValueError if they are more than the limit."""
    width, height = size
    pixels = width * height * COPIES.get(kind, 1)
    if decoding.max_pixels is not None and pixels > decoding.max_pixels:
        counted = f", each counted {COPIES[kind]} times in {kind}," if kind in COPIES else ""
        limit = f"data.max_pixels, {decoding.max_pixels}"
        raise ValueError(
            f"{width} x {height} pixels{counted} are more than {limit}; reduce the image, or raise the limit"
        )
    if decoding.max_pixels is not None and max(size) > MAX_SIDE:  # Pillow takes 8 bytes for each row besides its pixels
        raise ValueError(f"{width} x {height} pixels: no side may be longer than {MAX_SIDE}; cut the image")
    return pixels


def _is_buffered(image: ImageFile) -> bool:
    """Returns whether libjpeg holds a whole JPEG in memory, however reduced: if it comes in several scans."""
    if not isinstance(image, JpegImageFile) or image.fp is None:
        return False
    size = 6 + 2 * image.layers  # of the header of a scan of all components, behind which Pillow has stopped
    image.fp.seek(-size, os.SEEK_CUR)
    has_one_scan = image.fp.read(3) == size.to_bytes(2) + bytes([image.layers])
    return "progressive" in image.info or not has_one_scan


def upright_rgb(image: ImageFile, decoding: Decoding) -> Image.Image:
    """Decodes the pixels, makes transparent ones opaque, and turns the image upright."""
    image.load()
    transposed = TRANSPOSED.get(orientation(image))
    rgb = in_rgb(image, decoding)
    if rgb is not image:
        image.close()  # frees its pixels before the next copy
    if transposed is None:
        return rgb
    upright = rgb.transpose(transposed)
    rgb.close()
    return upright


def orientation(image: Image.Image) -> int:
    """Returns the orientation in the EXIF data, from 1 to 8, whatever else is in there; 1 if there is none.

    Pillow's reader of TIFF has turned the image already.
    """
    exif = image.info.get("exif")
    if exif is None and (text := image.info.get("Raw profile type exif")):  # PNG of old programs
        try:
            exif = bytes.fromhex("".join(text.split("\n")[3:]))
        except ValueError:
            return 1
    return _orientation(exif) if isinstance(exif, bytes) else 1


def _orientation(exif: bytes) -> int:
    """Returns the orientation in a TIFF directory, which is what EXIF data is."""
    while exif.startswith(b"Exif\0\0"):
        exif = exif[6:]
    order = ">" if exif.startswith(b"MM") else "<"
    try:
        start = struct.unpack_from(f"{order}L", exif, 4)[0]
        count = struct.unpack_from(f"{order}H", exif, start)[0]
        entries = (struct.unpack_from(f"{order}2HL4s", exif, start + 2 + 12 * entry) for entry in range(count))
        kind, value = next((kind, value) for tag, kind, _, value in entries if tag == ORIENTATION)
    except (struct.error, StopIteration):
        return 1
    code = {1: "B", 3: "H", 4: "L"}.get(kind)
    return int(struct.unpack_from(f"{order}{code}", value)[0]) if code else 1


def in_rgb(image: Image.Image, decoding: Decoding = DEFAULT) -> Image.Image:
    """Converts to 8-bit RGB; 16-bit gray is scaled from its white level, whereas Pillow would clip it at 255.

    Transparent images are put on the background. Raises ValueError for 32-bit gray, which has no white level.
    """
    if is_16_bit(image):
        return _in_bands(image, partial(_rgb_of_16_bits, decoding, declared_white_level(image) or decoding.white_level))
    if image.mode in {"I", "F"}:
        raise ValueError("grayscale with 32 bits per pixel; save the image with 8 or 16 bits")
    if decoding.background is not None and image.has_transparency_data:
        return _in_bands(image, partial(_opaque, decoding))
    return image if image.mode == "RGB" else image.convert("RGB")


def _in_bands(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Converts an image band by band, so that no copy but the result is as large as the image."""
    width, height = image.size
    rows = max(BAND // width, 1)
    if rows >= height:
        return convert(image)
    rgb = Image.new("RGB", image.size)
    for top in range(0, height, rows):
        rgb.paste(convert(image.crop((0, top, width, min(top + rows, height)))), (0, top))
    return rgb


def _rgb_of_16_bits(decoding: Decoding, white_level: int, image: Image.Image) -> Image.Image:
    transparent = image.info.get("transparency")
    gray_HW = np.asarray(image)
    rgb = Image.fromarray(_scale_to_8_bits(white_level)[gray_HW]).convert("RGB")
    if transparent is None or decoding.background is None:
        return rgb
    return _pasted(rgb, Image.fromarray(gray_HW != transparent), decoding)


def _opaque(decoding: Decoding, image: Image.Image) -> Image.Image:
    rgba = image if image.mode == "RGBA" else image.convert("RGBA")
    return _pasted(rgba, rgba, decoding)


def _pasted(image: Image.Image, mask: Image.Image, decoding: Decoding) -> Image.Image:
    """Returns the image where the mask, or its alpha channel, is opaque, and the background elsewhere, in RGB."""
    rgb = Image.new("RGB", image.size, decoding.background)
    rgb.paste(image, mask=mask)
    return rgb


def is_16_bit(image: Image.Image) -> bool:
    """Returns whether an image is 16-bit gray."""
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM")  # Pillow's PGM mode


def _peak(image: Image.Image) -> int | None:
    """Returns the largest value of 16-bit gray, unless the file declares its white level."""
    undeclared = is_16_bit(image) and declared_white_level(image) is None
    return int(np.asarray(image).max()) if undeclared else None


def declared_white_level(image: Image.Image) -> int | None:
    """Returns the white level of 16-bit gray in files that say how many bits they use; None for all others."""
    if image.format in {"PPM", "JPEG2000"}:
        return WHITE_LEVEL  # scaled by Pillow
    bits: int = getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, (16,))[0]
    return 2**bits - 1 if bits < 16 else None


@cache
def _scale_to_8_bits(white_level: int) -> np.ndarray:
    """Returns the 8-bit value of each 16-bit value, (65536,) uint8; those above the white level are white."""
    values = np.arange(WHITE_LEVEL + 1, dtype=np.uint32)
    return (np.minimum(values, white_level) * 255 // white_level).astype(np.uint8)
