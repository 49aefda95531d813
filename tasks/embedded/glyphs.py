"""Renders an unlimited supply of printed characters: the source task for pretraining the embedded backbone.

Shapes: N glyphs, G side of a clean glyph's canvas, S side of the network input.
"""

from __future__ import annotations

import math
import string
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

CHARACTERS = string.digits + string.ascii_uppercase + string.ascii_lowercase
FAMILIES = ("DejaVu", "STIXGeneral", "cmr", "cmb", "cmss", "cmtt", "cmmi")  # the matplotlib fonts that contain letters
STROKES = (0, 2, 4)  # pixels added around the outline, at font size SIZE
SIZE, BOX, CANVAS = 64, 64, 96  # pixels: font size, a glyph's longer side, G
RESOLUTIONS = (7.5, 32.49)  # pixels; range of the side that an image is downsampled to before upsampling
ELASTIC_NODES = 4  # side of the grid of random displacements


def fonts() -> list[Path]:
    """Returns the font files shipped with matplotlib that contain letters and digits."""
    folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
    return [
        file for file in sorted(folder.glob("*.ttf")) if file.name.startswith(FAMILIES) and "Display" not in file.name
    ]


def clean_glyphs() -> tuple[Tensor, Tensor]:
    """Renders every character in every font and stroke: (N, G, G) uint8, white on black, and classes (N,)."""
    drawn = [
        (_draw(ImageFont.truetype(str(font), SIZE), character, stroke), place)
        for font in fonts()
        for place, character in enumerate(CHARACTERS)
        for stroke in STROKES
    ]
    glyphs, classes = zip(*drawn, strict=True)
    return torch.from_numpy(np.stack(glyphs)), torch.tensor(classes)


def _draw(font: ImageFont.FreeTypeFont, character: str, stroke: int) -> np.ndarray:
    """Draws one character, cropped, scaled to a longer side of BOX pixels and centered on the canvas, (G, G)."""
    page = Image.new("L", (3 * SIZE, 3 * SIZE))
    ImageDraw.Draw(page).text((SIZE, SIZE // 2), character, fill=255, font=font, stroke_width=stroke)
    glyph = page.crop(page.getbbox())
    zoom = BOX / max(glyph.size)
    glyph = glyph.resize(
        (max(1, round(glyph.width * zoom)), max(1, round(glyph.height * zoom))), Image.Resampling.BILINEAR
    )
    canvas = Image.new("L", (CANVAS, CANVAS))
    canvas.paste(glyph, ((CANVAS - glyph.width) // 2, (CANVAS - glyph.height) // 2))
    return np.asarray(canvas)


def photograph(glyph_NGG: Tensor, side: int, random: torch.Generator) -> Tensor:
    """Distorts glyphs (N, G, G) as if handwritten and photographed with a poor camera: (N, 3, S, S), floats in [0, 1].

    Rotation, shear, size, proportions and position; elastic warp; random resolution; brightness and noise. The random
    resolution matters most for transfer to digits of 8 x 8 pixels.
    """
    count = len(glyph_NGG)
    grid = F.affine_grid(_affine(count, random), [count, 1, side, side], align_corners=False) + _elastic(
        count, side, random
    )
    x_N1SS = F.grid_sample(glyph_NGG[:, None].float() / 255, grid, align_corners=False)
    x_N1SS = torch.cat([_reduce_resolution(part, random) for part in x_N1SS.chunk(8)])
    x_N1SS = x_N1SS * _uniform(count, 0.6, 1.3, random).view(-1, 1, 1, 1)
    noise = torch.randn(x_N1SS.shape, generator=random) * _uniform(count, 0, 0.06, random).view(-1, 1, 1, 1)
    return (x_N1SS + noise).clamp(0, 1).expand(-1, 3, -1, -1)


def _affine(count: int, random: torch.Generator) -> Tensor:
    """Returns random affine maps from output to canvas coordinates, (N, 2, 3)."""
    angle, shear = _uniform(count, -0.3, 0.3, random), _uniform(count, -0.4, 0.4, random)
    size, proportion = _uniform(count, 0.62, 1.05, random), _uniform(count, -0.35, 0.35, random).exp()
    cos, sin = angle.cos(), angle.sin()
    turn_N22 = torch.stack([torch.stack([cos, shear - sin], 1), torch.stack([sin, cos], 1)], 1)
    zoom_N2 = torch.stack([proportion.sqrt(), 1 / proportion.sqrt()], 1) * (BOX / CANVAS) / size[:, None]
    place_N2 = torch.stack([_uniform(count, -0.12, 0.12, random) for _ in range(2)], 1)
    return torch.cat([zoom_N2[:, :, None] * turn_N22, place_N2[:, :, None]], 2)


def _elastic(count: int, side: int, random: torch.Generator) -> Tensor:
    """Returns smooth random displacements, (N, S, S, 2)."""
    nodes = torch.randn(count, 2, ELASTIC_NODES, ELASTIC_NODES, generator=random) * 0.06
    strength = _uniform(count, 0, 1, random).view(-1, 1, 1, 1)
    field_N2SS = F.interpolate(nodes * strength, size=(side, side), mode="bicubic", align_corners=True)
    return field_N2SS.permute(0, 2, 3, 1)


def _reduce_resolution(x_N1SS: Tensor, random: torch.Generator) -> Tensor:
    """Downsamples the batch to one random resolution, log-uniform between 8 and 32 pixels, and upsamples it again."""
    low, high = (math.log(side) for side in RESOLUTIONS)
    side = round(math.exp(low + (high - low) * float(torch.rand((), generator=random))))
    small = F.interpolate(x_N1SS, size=(side, side), mode="bilinear", antialias=True, align_corners=False)
    return F.interpolate(small, size=x_N1SS.shape[-2:], mode="bilinear", align_corners=False)


def _uniform(count: int, low: float, high: float, random: torch.Generator) -> Tensor:
    return torch.rand(count, generator=random) * (high - low) + low
