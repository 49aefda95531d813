"""Reads each image file's facts for the manifest: digests, size and mode, or why it cannot be read."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import imagehash
from PIL import Image

from tasks.core.schema import Column
from tasks.scorer.decode import DEFAULT, Decoded, Decoding, decoded

Facts = dict[str, Any]  # the manifest's columns that depend on the file alone
PEAK = "peak"  # a fact besides the manifest's columns: the largest value of a 16-bit gray image
MAX_SIDE, SHORTENED = 2**18, 2**12  # pixels
BAND = 1024  # rows that are hashed at a time


def read_facts(root: Path, file: str, decoding: Decoding = DEFAULT) -> Facts:
    """Returns the facts of one file below `root`, or why it cannot be read or decoded."""
    try:
        data = (root / file).read_bytes()
    except OSError as error:
        return unreadable(file, error)
    row: Facts = {Column.PATH: file, Column.SHA256: hashlib.sha256(data).hexdigest()}
    try:
        with decoded(data, decoding=decoding) as image:
            return {**row, **_facts_of_image(image)}
    except ValueError as reason:
        return {**row, Column.QUARANTINE: str(reason)}


def unreadable(file: str, error: OSError) -> Facts:
    """Returns the facts of a file that the system cannot read."""
    return {Column.PATH: file, Column.QUARANTINE: f"the file cannot be read: {error.strerror}"}


def _facts_of_image(image: Decoded) -> Facts:
    peak = {} if image.peak is None else {PEAK: image.peak}
    return {
        Column.PIXEL_HASH: pixel_hash(image.rgb),
        Column.PERCEPTUAL_HASH: perceptual_hash(image.rgb),
        Column.WIDTH: image.rgb.width,
        Column.HEIGHT: image.rgb.height,
        Column.MODE: image.mode,
        **peak,
    }


def perceptual_hash(image: Image.Image) -> str:
    """Returns the perceptual hash. Very long images are shortened first, or they would be widened at full length."""
    if max(image.size) > MAX_SIDE:
        image = image.resize((min(image.width, SHORTENED), min(image.height, SHORTENED)), Image.Resampling.BOX)
    return str(imagehash.phash(image))


def pixel_hash(image: Image.Image) -> str:
    """Returns the SHA-256 of size and RGB pixels, which is equal for lossless encodings of the same image."""
    digest = hashlib.sha256(f"{image.width}x{image.height}:".encode())
    for top in range(0, image.height, BAND):
        band = image.crop((0, top, image.width, min(top + BAND, image.height)))
        digest.update(band.convert("RGB").tobytes())
    return digest.hexdigest()
