"""How the images of a data set are decoded: set in params.yaml, written by ingest, read by every stage after it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from PIL import ImageColor

from tasks.core.files import read_json, write_json
from tasks.scorer.decode import WHITE_LEVEL, Decoding


def resolve(max_pixels: int, background: str, white_level: int | None) -> Decoding:
    """Resolves the values of params.yaml: a color by name or #rrggbb, and the default of the white level."""
    red, green, blue = ImageColor.getrgb(background)[:3]
    return Decoding(max_pixels, (red, green, blue), white_level or WHITE_LEVEL)


def save(file: Path, decoding: Decoding) -> None:
    """Writes decoding.json."""
    write_json(file, asdict(decoding))


def load(file: Path) -> Decoding:
    """Reads decoding.json."""
    return Decoding.of(read_json(file))
