from __future__ import annotations

import io
from itertools import combinations

import imagehash
import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from tasks.core.schema import Column
from tasks.data import near_duplicates
from tasks.data.image_facts import pixel_hash
from tasks.data.near_duplicates import (
    MAX_ALIKE,
    MAX_DIFFERENCE,
    MAX_DISTANCE,
    MIN_CONTRAST,
    MIN_CORRELATION,
    ImageFiles,
    Thumbnails,
    alike,
    candidates,
    find_near_duplicates,
    sheet,
)
from tests.drawn import SHAPES, drawn


def scene(seed, side=160):
    """Draws smooth, random color gradients, as different from each other as photographs."""
    grid = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(grid).resize((side, side), Image.Resampling.BICUBIC)


def through(image, kind, **how):
    file = io.BytesIO()
    image.save(file, kind, **how)
    return Image.open(io.BytesIO(file.getvalue())).convert("RGB")


def with_pixel(image):
    changed = image.copy()
    changed.putpixel((3, 3), (255, 0, 0))
    return changed


COPIES = {
    "jpeg 90": lambda image: through(image, "JPEG", quality=90),
    "jpeg 50": lambda image: through(image, "JPEG", quality=50),
    "webp": lambda image: through(image, "WEBP", quality=80),
    "half": lambda image: image.resize((80, 80)),
    "quarter": lambda image: image.resize((40, 40)),
    "double": lambda image: image.resize((320, 320)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.02),
    "one pixel": with_pixel,
    "sharper": lambda image: ImageEnhance.Sharpness(image).enhance(1.5),
}


def pairs(folder, images, split=None):
    """Returns the near-duplicates among the images, by name."""
    rows = []
    for name, image in images.items():
        image.save(folder / f"{name}.png")
        facts = (f"{name}.png", pixel_hash(image), str(imagehash.phash(image)))
        rows.append((*facts, split[name] if split else None))
    table = pd.DataFrame(rows, columns=[Column.PATH, Column.PIXEL_HASH, Column.PERCEPTUAL_HASH, Column.SPLIT])
    answer = find_near_duplicates(ImageFiles(folder), table, table[Column.SPLIT] if split else None)
    names = list(images)
    return {tuple(sorted((names[a], names[b]))) for a, b in answer.pairs_P2}, answer.unsearched


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
def test_copies_are_near_duplicates_of_their_original_only(copy, tmp_path):
    images = {f"{seed}": scene(seed) for seed in range(12)}
    copies = {f"{name}-copy": copy(image) for name, image in images.items()}
    assert pairs(tmp_path, images | copies)[0] == {(name, f"{name}-copy") for name in images}


def test_blocks_of_pairs_keep_their_order(tmp_path, monkeypatch):
    images = {f"{seed}": scene(seed) for seed in range(12)}
    images |= {f"{name}-copy": COPIES["jpeg 90"](image) for name, image in images.items() if int(name) % 3}
    images |= {f"{name}-gray": image.convert("L").convert("RGB") for name, image in images.items() if len(name) < 3}
    monkeypatch.setattr(near_duplicates, "CHUNK", 1)
    assert pairs(tmp_path, images)[0] == {(str(seed), f"{seed}-copy") for seed in range(12) if seed % 3}


OTHERS = {
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "gray": lambda image: image.convert("L").convert("RGB"),
    "other colors": lambda image: Image.merge("RGB", image.split()[::-1]),
    "much darker": lambda image: ImageEnhance.Brightness(image).enhance(0.6),
}


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS)
def test_changed_images_are_not(change, tmp_path):
    images = {f"{seed}": scene(seed) for seed in range(12)}
    changed = {f"{name}-changed": change(image) for name, image in images.items()}
    assert pairs(tmp_path, images | changed)[0] == set()


def test_drawn_shapes_and_digits_are_not_merged(tmp_path):
    from tasks.embedded.digits import digits

    images = {f"{shape}{seed}": drawn(shape, seed) for shape in SHAPES for seed in range(100)}
    assert pairs(tmp_path, images)[0] == set()
    assert pairs(tmp_path, {str(n): Image.fromarray(image).convert("RGB") for image, _, _, n in digits()})[0] == set()


def test_real_photographs_are_not_merged(assets, tmp_path):
    files = sorted((assets / "hymenoptera").rglob("*.jpg"))[::3]
    images = {f"{number}": Image.open(file).convert("RGB") for number, file in enumerate(files)}
    assert len(images) > 100
    assert pairs(tmp_path, images)[0] == set()


def test_flat_images_are_equal_only_if_their_pixels_are(tmp_path):
    images = {f"{level}": Image.new("RGB", (40, 40), (level, level, level)) for level in range(100, 140)}
    noisy = np.random.default_rng(0).integers(120, 123, (20, 40, 40, 3), dtype=np.uint8)
    images |= {f"noise{number}": Image.fromarray(pixels) for number, pixels in enumerate(noisy)}
    assert pairs(tmp_path, images)[0] == set()


def test_images_without_detail_are_counted_instead_of_compared(tmp_path):
    images = {f"{n}": Image.new("RGB", (8, 8), (n % 250, n // 250, 9)) for n in range(MAX_ALIKE + 20)}
    assert pairs(tmp_path, images) == (set(), len(images))


def test_between_splits_only_pairs_in_two_are_searched(tmp_path):
    images = {"a": scene(0), "b": COPIES["jpeg 90"](scene(0)), "c": COPIES["half"](scene(0))}
    answer, _ = pairs(tmp_path, images, {"a": "train", "b": "train", "c": "test"})
    assert answer == {("a", "c"), ("b", "c")}


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2**64 - 1), st.integers(0, 63)), max_size=40))
def test_the_index_finds_what_comparing_all_pairs_finds(drawn):
    bases = (0, 2**64 - 1, 0x5555555555555555, 0x00FF00FF00FF00FF)
    hash_N = np.array([bases[base] ^ (mask & 0xF << turn % 60) for base, mask, turn in drawn], np.uint64)
    every = {
        (a, b) for a, b in combinations(range(len(hash_N)), 2) if int(hash_N[a] ^ hash_N[b]).bit_count() <= MAX_DISTANCE
    }
    assert [tuple(pair) for pair in candidates(hash_N).tolist()] == sorted(every)


def test_correlation_alone_or_equal_levels_alone_do_not_decide():
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (1, 32, 32, 3)).astype(np.uint8)
    dark = (image * 0.7).astype(np.uint8)
    flat = np.full_like(image, 90)
    for other, expected in ((image, True), (dark, False)):
        assert alike(Thumbnails.of(image), Thumbnails.of(other)).tolist() == [expected]
    assert alike(Thumbnails.of(flat), Thumbnails.of(flat + 1)).tolist() == [False]


@given(st.integers(0, 255), st.integers(0, 60), st.integers(0, 25), st.floats(0.5, 1.5), st.integers(0, 9))
def test_exact_sums_decide_as_correlation_and_difference_do(base, contrast, noise, gain, seed):
    random = np.random.default_rng(seed)
    a = np.clip(base + random.normal(0, contrast, (4, 32, 32, 3)), 0, 255).astype(np.uint8)
    b = np.clip(gain * a + random.normal(0, noise, a.shape), 0, 255).astype(np.uint8)
    expected = []
    for one, other in zip(a.reshape(4, -1).astype(float), b.reshape(4, -1).astype(float), strict=True):
        deviation = min(one.std(), other.std())
        correlation = np.corrcoef(one, other)[0, 1] if deviation > 0 else 0
        difference = np.sqrt(np.mean((one - other) ** 2))
        values = (correlation - MIN_CORRELATION, MAX_DIFFERENCE - difference, deviation - MIN_CONTRAST)
        assume(min(map(abs, values)) > 1e-9)
        expected.append(min(values) > 0)
    assert alike(Thumbnails.of(a), Thumbnails.of(b)).tolist() == expected


def test_the_sheet_shows_each_pair_in_a_row(tmp_path):
    for name in ("a", "b"):
        scene(0).save(tmp_path / f"{name}.png")
    assert sheet(ImageFiles(tmp_path), [("a.png", "b.png")] * 3).size == (192, 288)
