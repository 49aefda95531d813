"""Writes sheets of images with captions as PNG files. Shapes: N images, S side of a square image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tasks.reports.figures import plt, save
from tasks.scorer.decode import Decoding, decode

THUMBNAIL = 256  # pixels


def sheet(path: Path, rows: Sequence[np.ndarray], titles: Sequence[str]) -> None:
    """Writes a grid of images, each row (N, 3, S, S), floats in [0, 1], under column titles."""
    figure, axes = plt.subplots(
        len(rows), len(titles), figsize=(1.3 * len(titles), 1.3 * len(rows) + 0.3), squeeze=False
    )
    for line, images in zip(axes, rows, strict=True):
        for cell, image in zip(line, images, strict=False):
            cell.imshow(image.transpose(1, 2, 0), interpolation="nearest")
    for cell, title in zip(axes[0], titles, strict=True):
        cell.set_title(title, fontsize=9)
    for cell in axes.flat:
        cell.axis("off")
    save(figure, path)


def captioned(path: Path, images: Sequence[np.ndarray], captions: Sequence[str], columns: int = 8) -> None:
    """Writes a grid of images, (H, W, 3) uint8 each, with captions, or the word "none" if there are no images."""
    count = max(len(images), 1)
    lines = -(-count // columns)
    figure, axes = plt.subplots(
        lines, min(columns, count), figsize=(1.5 * min(columns, count), 1.9 * lines), squeeze=False
    )
    for cell in axes.flat:
        cell.axis("off")
    for cell, image, caption in zip(axes.flat, images, captions, strict=False):
        cell.imshow(image, interpolation="nearest")
        cell.set_title(caption, fontsize=7)
    if not images:
        axes[0, 0].text(0.5, 0.5, "none", ha="center")
    save(figure, path)


def thumbnails(path: Path, files: Sequence[Path], captions: Sequence[str]) -> None:
    """Writes a grid of thumbnails of image files, with captions; an image that cannot be decoded is gray."""
    captioned(path, [thumbnail(file) for file in files], captions)


def thumbnail(file: Path) -> np.ndarray:
    """Returns an image reduced to the size of a thumbnail, (H, W, 3) uint8."""
    try:
        image = decode(file.read_bytes(), None, Decoding(max_pixels=None))
    except ValueError:  # other code, which may read more formats, has answered it
        return np.full((THUMBNAIL, THUMBNAIL, 3), 128, np.uint8)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    return np.asarray(image)
