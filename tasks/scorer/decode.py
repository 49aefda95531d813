"""Encoded bytes to an upright RGB picture. Pillow and numpy alone: no torch."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError


def decode(data: bytes, least: int | None = None) -> Image.Image:
    """The complete, upright RGB picture. Raises ValueError with the reason if there is none.

    With `least`, a JPEG may be decoded at a reduced size that still has so many pixels on its shorter side.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            if least:
                image.draft(None, (least, least))
            is_pgm = image.format == "PPM"  # has no EXIF; a copy would have no format
            return in_rgb(image if is_pgm else ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        raise ValueError("not an image that Pillow can read") from None
    except Exception as error:  # what Pillow's readers raise for broken files is an open set
        raise ValueError(f"broken image: {error}") from None


def in_rgb(image: Image.Image) -> Image.Image:
    """RGB in 8 bits; grey in 16 bits is divided by 257, where Pillow would cut it off at 255.

    Raises ValueError for grey in 32 bits, whose white nobody knows.
    """
    in_16 = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM")  # as Pillow reads a PGM
    if image.mode in {"I", "F"} and not in_16:
        raise ValueError("grey in 32 bits; save it with 8 or 16")
    if in_16:
        image = Image.fromarray((np.asarray(image).astype(np.uint32) // 257).astype(np.uint8))
    return image.convert("RGB")
