"""Opens images with Pillow's reader for their format alone, and no other."""

from __future__ import annotations

import importlib
import io
import struct
from collections.abc import Callable
from importlib import metadata
from typing import IO

from PIL import features
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile, DibImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TgaImagePlugin import TgaImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from .formats import EXPORT, HEAD, HEIF, RAW, described, format_of

READERS: dict[str, Callable[[IO[bytes]], ImageFile]] = {
    "PNG": PngImageFile,
    "JPEG": JpegImageFile,
    "WEBP": WebPImageFile,
    "BMP": BmpImageFile,
    "DIB": DibImageFile,
    "GIF": GifImageFile,
    "TIFF": TiffImageFile,
    "PPM": PpmImageFile,
    "TGA": TgaImageFile,
    "AVIF": AvifImageFile,
    "JPEG2000": Jpeg2KImageFile,
}
CODECS = {"WEBP": "webp", "AVIF": "avif", "JPEG2000": "jpg_2000"}  # which a build of Pillow may lack
TGA = struct.Struct("<3B2xHB4x2H2B")  # ID length, color map, type; map length, entry bits; width, height, bits, flags
DNG_VERSION, SUBFILE_TYPE, SUB_IFDS = 50706, 254, 330  # tags of TIFF


def opened(data: bytes) -> ImageFile:
    """Opens an image without decoding its pixels. Raises ValueError with the reason if it cannot be read."""
    name = format_of(data[:HEAD]) or ("TGA" if is_tga(data) else None)
    if name is None:
        raise ValueError(f"not an image but {described(data[:HEAD])}")
    reader = reader_of(name)
    try:
        image = reader(io.BytesIO(data))
        is_raw = isinstance(image, TiffImageFile) and _is_raw(image)
    except Exception as error:  # Pillow's readers raise all kinds of exceptions for broken files
        raise ValueError(f"broken {name} image: {error}") from None
    if is_raw:
        raise ValueError(f"not an image but {RAW}")
    return image


def reader_of(name: str) -> Callable[[IO[bytes]], ImageFile]:
    """Returns Pillow's reader of a format. Raises ValueError with a remedy if it is not installed."""
    if name == HEIF:
        return _heif_reader()
    if name in CODECS and not features.check(CODECS[name]):
        raise ValueError(f"this build of Pillow cannot decode it; {EXPORT}")
    return READERS[name]


def heif_version() -> str | None:
    """Returns the version of the package that reads HEIC images, or None if it is not installed."""
    try:
        return metadata.version("pillow-heif")
    except metadata.PackageNotFoundError:
        return None


def _heif_reader() -> Callable[[IO[bytes]], ImageFile]:
    try:
        reader: Callable[[IO[bytes]], ImageFile] = importlib.import_module("pillow_heif").HeifImageFile
    except ImportError:
        raise ValueError("HEIC needs a package: pip install pillow-heif, and run again; or save it as JPEG") from None
    return reader


def is_tga(data: bytes) -> bool:
    """Returns whether all fields of a TGA header are possible, and the file is as long as they say."""
    if len(data) <= TGA.size:
        return False
    id_length, has_map, kind, entries, entry_bits, width, height, bits, flags = TGA.unpack_from(data)
    is_mapped = kind in {1, 9}
    possible = kind in {1, 2, 3, 9, 10, 11} and bits in {8, 15, 16, 24, 32} and width * height > 0 and flags < 64
    if not possible or has_map > 1 or (is_mapped and not has_map) or (has_map and entry_bits not in {15, 16, 24, 32}):
        return False
    start = TGA.size + id_length + has_map * entries * -(-entry_bits // 8)
    return bool(len(data) > start and (kind > 8 or len(data) >= start + width * height * -(-bits // 8)))


def _is_raw(image: TiffImageFile) -> bool:
    """Returns whether a TIFF is a camera's RAW file, of which Pillow would decode only the embedded thumbnail."""
    is_thumbnail = image.tag_v2.get(SUBFILE_TYPE, 0) == 1 and SUB_IFDS in image.tag_v2
    return bool(DNG_VERSION in image.tag_v2 or is_thumbnail)
