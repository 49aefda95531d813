"""Drawn images: three shapes for classes, discs for targets, scenes for several labels."""

from __future__ import annotations

import io
from colorsys import hsv_to_rgb
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIDE = 32
SHAPES = ("bar", "disc", "ring")
COLORS = {"bar": (230, 120, 90), "disc": (90, 210, 120), "ring": (110, 120, 240)}


def drawn(shape: str, seed: int, side: int = SIDE) -> Image.Image:
    """Draws one of three shapes, each in its own color, with random position, size and shade on a noisy background."""
    rng = np.random.default_rng([SHAPES.index(shape), seed])
    picture = Image.fromarray(rng.integers(0, 60, (side, side, 3), dtype=np.uint8))
    radius = side * rng.uniform(0.25, 0.38)
    x, y = rng.uniform(radius, side - radius, 2)
    color = tuple(int(c) for c in COLORS[shape] + rng.integers(-25, 25, 3))
    pen = ImageDraw.Draw(picture)
    if shape == "bar":
        pen.rectangle((x - radius, y - side / 12, x + radius, y + side / 12), fill=color)
    else:
        box = (x - radius, y - radius, x + radius, y + radius)
        pen.ellipse(box, fill=color if shape == "disc" else None, outline=color, width=max(2, side // 12))
    return picture


def encoded(picture: Image.Image, kind: str = "PNG", **how: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **how)
    return file.getvalue()


def write_shapes(root: Path, counts: dict[str, int], side: int = SIDE) -> Path:
    """Writes `counts` images per class to each folder: {"train": 6} writes train/bar/0.png etc.; {"": 6} bar/0.png."""
    for number, (split, count) in enumerate(counts.items()):
        for shape in SHAPES:
            folder = root / split / shape
            folder.mkdir(parents=True)
            for place in range(count):
                drawn(shape, 1000 * number + place, side).save(folder / f"{place}.png")
    return root


def write_hues(root: Path, classes: int, counts: dict[str, int]) -> Path:
    """Writes `counts` images per class to each folder, each class a square of its own hue on noise."""
    for number, (split, count) in enumerate(counts.items()):
        for hue in range(classes):
            folder = root / split / f"hue {hue:03d}"
            folder.mkdir(parents=True)
            for place in range(count):
                rng = np.random.default_rng([hue, number, place])
                picture = Image.fromarray(rng.integers(0, 60, (SIDE, SIDE, 3), dtype=np.uint8))
                color = tuple(round(255 * channel) for channel in hsv_to_rgb(hue / classes, 0.9, 0.9))
                ImageDraw.Draw(picture).rectangle((6, 6, 25, 25), fill=color)
                picture.save(folder / f"{place}.png")
    return root


def write_discs(root: Path, count: int = 48) -> Path:
    """Writes discs of known size and position, as a table with two targets; a quarter is validation, a quarter test."""
    rng = np.random.default_rng(0)
    root.mkdir(parents=True)
    rows = ["path,radius,x,split,lot"]
    for number in range(count):
        radius, x = rng.uniform(3, 10), rng.uniform(10, 22)
        picture = Image.new("RGB", (SIDE, SIDE))
        ImageDraw.Draw(picture).ellipse((x - radius, 16 - radius, x + radius, 16 + radius), fill="white")
        picture.putpixel((0, 0), (number, 0, 0))  # no two images are the same
        picture.save(root / f"{number}.png")
        split = ("train", "train", "val", "test")[number % 4]
        rows.append(f"{number}.png,{radius:.3f},{x:.3f},{split},lot {number % 3}")
    table = root / "sizes.csv"
    table.write_text("\n".join(rows) + "\n")
    return table


def write_scenes(root: Path, count: int = 60) -> Path:
    """Writes images of a disc, a bar, both or neither, as a table of labels; a sixth is validation, a third test."""
    root.mkdir(parents=True)
    rows = ["path,label,split,lot"]
    for number in range(count):
        rng = np.random.default_rng(number)
        picture = Image.fromarray(rng.integers(0, 60, (SIDE, SIDE, 3), dtype=np.uint8))
        pen, labels = ImageDraw.Draw(picture), []
        if number % 2:
            x = rng.uniform(8, 24)
            pen.ellipse((x - 5, 3, x + 5, 13), fill=(90, 230, 120))
            labels.append("disc")
        if number // 2 % 2:
            y = rng.uniform(18, 28)
            pen.rectangle((4, y - 2, 28, y + 2), fill=(230, 90, 90))
            labels.append("bar")
        picture.save(root / f"{number}.png")
        split = ("train", "train", "test", "val", "test", "train")[number // 4 % 6]
        rows.append(f"{number}.png,{'; '.join(labels) or ';'},{split},lot {number % 3}")
    table = root / "scenes.csv"
    table.write_text("\n".join(rows) + "\n")
    return table


def arrow(seed: int, is_left: bool, side: int = SIDE) -> Image.Image:
    """Draws an arrowhead that points left or right."""
    rng = np.random.default_rng(seed)
    picture, x, y = Image.new("L", (side, side)), rng.uniform(6, 10), rng.uniform(13, 19)
    ImageDraw.Draw(picture).polygon([(x, y - 7), (x, y + 7), (x + 16, y)], fill=int(rng.integers(150, 255)))
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if is_left else picture


def write_arrows(root: Path, count: int = 30) -> Path:
    """Writes `count` arrows a class and split, left and right; nothing but a flip tells one class from the other."""
    for number, split in enumerate(("train", "val", "test")):
        for name in ("left", "right"):
            folder = root / split / name
            folder.mkdir(parents=True)
            for place in range(count if split == "train" else 4):
                arrow(1000 * number + place + (500 if name == "left" else 0), name == "left").save(
                    folder / f"{place}.png"
                )
    return root
