"""Files that no camera writes: images with changed bytes, and files made to exhaust memory or to go in circles."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from tests.drawn import drawn, encoded

KINDS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "AVIF", "JPEG2000", "TGA", "DIB")
EXTREMES = (b"\xff\xff\xff\xff", bytes(4), b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f")
LIMIT = 9990  # pixels; the square of it is just within the default limit
MIB = 2**20


def write_mutated(folder: Path, count: int) -> None:
    """Writes images of all formats with bytes flipped, set to extremes, inserted, removed or cut off."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    seeds = [(kind.lower(), encoded(drawn("disc", place, 64), kind)) for place, kind in enumerate(KINDS)]
    ring, clear = drawn("ring", 3, 64), Image.new("RGBA", (64, 64))
    seeds += [("jpg", encoded(ring, "JPEG", progressive=True)), ("webp", encoded(clear, "WEBP", lossless=True))]
    seeds += [("tif", encoded(ring, "TIFF", compression=how)) for how in ("tiff_lzw", "tiff_deflate", "jpeg")]
    seeds += [("png", encoded(ring.convert("P"), "PNG", transparency=3))]
    for number in range(count):
        suffix, data = seeds[number % len(seeds)]
        (folder / f"{number:04}.{suffix}").write_bytes(mutated(data, rng))


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Changes some bytes, in half of the cases those of the header."""
    place = int(rng.integers(0, min(len(data), 120) if rng.random() < 0.5 else len(data)))
    length = int(rng.integers(1, 40))
    noise = rng.integers(0, 256, length, dtype=np.uint8).tobytes()
    match rng.integers(0, 5):
        case 0:
            return data[:place] + noise[:1] + data[place + 1 :]
        case 1:
            return data[:place]
        case 2:
            return data[:place] + noise + data[place:]
        case 3:
            return data[:place] + EXTREMES[length % 4] + data[place + 4 :]
    return data[:place] + data[place + length :]


def chunk(kind: bytes, data: bytes) -> bytes:
    """Returns a chunk of a PNG."""
    return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))


def png(width: int, height: int, data: bytes, depth: int = 8, color: int = 2, more: bytes = b"") -> bytes:
    """Returns a PNG with compressed data as it is."""
    header = struct.pack(">2L5B", width, height, depth, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + more + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def zeros(count: int) -> bytes:
    """Returns compressed zeros, a thousandth of their number."""
    compressor = zlib.compressobj(9)
    parts = [compressor.compress(bytes(MIB)) for _ in range(count // MIB + 1)]
    return b"".join(parts) + compressor.flush()


def tiff(tags: list[tuple[int, int, int, int]], following: int = 0) -> bytes:
    """Returns a TIFF with these tags: number, type, count, value."""
    entries = b"".join(struct.pack("<2H2L", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<LH", 8, len(tags)) + entries + struct.pack("<L", following)


def gray_tags(width: int, height: int, compression: int = 1) -> list[tuple[int, int, int, int]]:
    """Returns the tags of a grayscale image whose pixels lie at the start of the file."""
    values = {256: width, 257: height, 258: 8, 259: compression, 262: 1, 273: 8, 277: 1, 278: height, 279: 100}
    return [(tag, 4, 1, value) for tag, value in values.items()]


def with_size(data: bytes, marker: bytes, side: int) -> bytes:
    """Returns a JPEG that claims to have another size."""
    place = data.index(marker) + 5
    return data[:place] + struct.pack(">2H", side, side) + data[place + 4 :]


def crafted() -> Iterator[tuple[str, bytes]]:
    """Yields names and contents of crafted files, one at a time, since some are large."""
    yield from _crafted_png()
    yield from _crafted_tiff()
    small, large = Image.new("RGB", (64, 64)), Image.new("RGB", (LIMIT, LIMIT), "red")
    plain, progressive = encoded(small, "JPEG"), encoded(small, "JPEG", progressive=True)
    for side in (LIMIT, 65500):
        yield f"{side}.jpg", with_size(plain, b"\xff\xc0", side)
        yield f"{side}-progressive.jpg", with_size(progressive, b"\xff\xc2", side)
    yield "real.jpg", encoded(large, "JPEG", quality=10)
    yield "real-progressive.jpg", encoded(large, "JPEG", quality=10, progressive=True)
    yield "reduced.jpg", encoded(Image.new("RGB", (16000, 16000), "red"), "JPEG", quality=10)
    frames = [Image.new("P", (500, 500), place) for place in range(200)]
    yield "frames.gif", encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    gif = encoded(Image.new("P", (8, 8)), "GIF")
    yield "screen.gif", gif[:6] + b"\xff" * 4 + gif[10:]
    place = gif.index(b",", 13) + 5
    yield "frame.gif", gif[:place] + struct.pack("<2H", 60000, 60000) + gif[place + 4 :]
    yield "huge.ppm", b"P6 99999999 99999999 255\n" + bytes(100)
    yield "gray.pgm", f"P5 {LIMIT} {LIMIT} 65535\n".encode() + bytes(1000)
    yield "digits.ppm", b"P6 " + b"9" * 10**6
    for name, side, compression, data in (("huge", 60000, 0, b""), ("rle", LIMIT, 1, b"\0\2\xff\xff" * 1000)):
        header = struct.pack("<LllHHLLllLL", 40, side, side, 1, 8 if compression else 24, compression, 0, 0, 0, 0, 0)
        yield f"{name}.bmp", b"BM" + struct.pack("<LHHL", 100, 0, 0, 54) + header + data
    yield "runs.tga", struct.pack("<3B2xHB4x2H2B", 0, 0, 10, 0, 0, LIMIT, LIMIT, 24, 0) + b"\xff\1\2\3" * 800_000
    yield "huge.tga", struct.pack("<3B2xHB4x2H2B", 0, 0, 10, 0, 0, 65535, 65535, 32, 0) + bytes(100)
    yield "empty.avif", b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + b"\0\0\1\0meta" + bytes(1000)
    yield "huge.j2k", b"\xff\x4f\xff\x51" + struct.pack(">HH8LH", 47, 0, *(60000, 60000, 0, 0) * 2, 3) + b"\7\1\1" * 3


def _crafted_png() -> Iterator[tuple[str, bytes]]:
    yield "huge.png", png(13_000, 13_000, zeros(13_000 * 39_001))
    for name, color, channels, depth in (("rgb", 2, 3, 8), ("rgba", 6, 4, 8), ("gray", 0, 1, 8), ("gray16", 0, 1, 16)):
        yield f"{name}.png", png(LIMIT, LIMIT, zeros(LIMIT * (LIMIT * channels * depth // 8 + 1)), depth, color)
    for name, width, height in (("wide", 90_000_000, 1), ("tall", 1, 90_000_000)):
        yield f"{name}.png", png(width, height, zeros(height * (width + 1)), 8, 0)
    for width, height in ((2**31 - 1, 2**31 - 1), (0, 0), (2**32 - 1, 5)):
        yield f"{width}x{height}.png", png(width, height, b"")
    bomb, pixels = zeros(300 * MIB), zlib.compress(bytes(8 * 25))
    for kind, head in ((b"iCCP", b"x\0\0"), (b"zTXt", b"x\0\0"), (b"iTXt", b"x\0\1\0\0\0"), (b"eXIf", b"II*\0")):
        yield f"{kind.decode()}.png", png(8, 8, pixels, more=chunk(kind, head + bomb))
    yield "texts.png", png(8, 8, pixels, more=chunk(b"zTXt", b"x\0\0" + zeros(MIB - 10)) * 200)
    yield "data.png", png(8, 8, bomb)
    frames = [Image.new("RGB", (1000, 1000), (place, 0, 0)) for place in range(30)]
    yield "frames.apng", encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])


def _crafted_tiff() -> Iterator[tuple[str, bytes]]:
    yield "circle.tif", tiff(gray_tags(8, 8), following=8)
    yield "directories.tif", tiff([*gray_tags(8, 8), (330, 4, 1, 8), (34665, 4, 1, 8), (34853, 4, 1, 8)])
    yield "text.tif", tiff([*gray_tags(8, 8), (270, 2, 2**32 - 1, 8)])
    yield "tags.tif", tiff([*gray_tags(8, 8), *[(65000, 7, 2**31, 9)] * 2000])
    yield "huge.tif", tiff(gray_tags(2**31, 2**31))
    for compression in (1, 4, 5, 7, 8, 34925, 50000, 50001):
        yield f"{compression}.tif", tiff(gray_tags(LIMIT, LIMIT, compression))
    tiles = {256: 100, 257: 100, 258: 8, 259: 8, 262: 1, 277: 1, 322: 60000, 323: 60000, 324: 8, 325: 100}
    yield "tiles.tif", tiff([(tag, 4, 1, value) for tag, value in tiles.items()])
    yield "real.tif", encoded(Image.new("RGBA", (LIMIT, LIMIT), "red"), "TIFF", compression="tiff_lzw")
    pages = [Image.new("L", (100, 100))] * 300
    yield "pages.tif", encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
