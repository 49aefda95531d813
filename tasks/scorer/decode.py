"""Decodes image files to upright RGB images with only Pillow and NumPy, without torch."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError


def decode(data: bytes, least: int | None = None) -> Image.Image:
    """Decodes an image file to an upright RGB image. Raises ValueError with the reason if it is broken or truncated.

    With `least`, a JPEG may be decoded at a reduced size that has at least that many pixels on its shorter side.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            if least:
                image.draft(None, (least, least))
            is_pgm = image.format == "PPM"  # has no EXIF; exif_transpose would lose the format
            return in_rgb(image if is_pgm else ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        raise ValueError("not an image that Pillow can read") from None
    except Exception as error:  # Pillow's decoders raise all kinds of exceptions for broken files
        raise ValueError(f"broken image: {error}") from None


def in_rgb(image: Image.Image) -> Image.Image:
    """Converts to 8-bit RGB; 16-bit gray is divided by 257, whereas Pillow would clip it at 255.

    Raises ValueError for 32-bit gray, whose white level is not defined.
    """
    is_16_bit = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM")  # Pillow's PGM mode
    if image.mode in {"I", "F"} and not is_16_bit:
        raise ValueError("grayscale with 32 bits per pixel; save the image with 8 or 16 bits")
    if is_16_bit:
        image = Image.fromarray((np.asarray(image).astype(np.uint32) // 257).astype(np.uint8))
    return image.convert("RGB")
