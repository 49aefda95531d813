"""Images drawn with integers only, so that they never change: a registered version's predictions refer to them."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

SHAPES = ("bar", "disc", "ring")
COLORS = ((230, 120, 90), (90, 210, 120), (110, 120, 240))
COUNT = 18
SIDES = ((32, 32), (48, 40))  # height and width in pixels: as the network sees it, and to be resized


def picture(number: int) -> bytes:
    """Returns a PNG of a shape, with varying place and size, on a patterned background; every third is half faded."""
    height, width = SIDES[number // 3 % 2]
    y, x = np.mgrid[:height, :width]
    x0, y0, radius = width // 2 + number % 5 - 2, height // 2 - number % 4 + 2, 8 + number % 4
    square = (x - x0) ** 2 + (y - y0) ** 2
    is_shape = (
        (abs(y - y0) <= 2) & (abs(x - x0) <= radius),
        square <= radius**2,
        (square <= radius**2) & (square >= (radius - 3) ** 2),
    )[number % 3]
    color = np.array(COLORS[(number + number // 9) % 3])  # from the tenth on in the color of another shape
    ground = ((x * 7 + y * 13 + number * 31) % 60)[..., None]
    pixels = np.where(is_shape[..., None], color if number % 2 else (color + ground) // 2, ground)
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG")
    return file.getvalue()
