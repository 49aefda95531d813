"""Recognizes files by their first bytes: the supported formats of images, and what else a file may be."""

from __future__ import annotations

import re
from typing import NamedTuple

HEAD = 512  # bytes that tell what a file is
HEIF = "HEIF"  # the only format that needs a package besides Pillow


class Signature(NamedTuple):
    """The bytes that a kind of file has at an offset. `kind` is a format, or says what the file is and what to do."""

    kind: str
    magic: tuple[bytes, ...]
    offset: int = 0


BINARY = (b"PK\3\4", b"\x1f\x8b\x08", b"7z\xbc\xaf", b"Rar!\x1a", b"BZh9", b"\xfd7zXZ\0")
EXPORT = "export it as PNG or JPEG"
RAW = f"a camera's RAW file; {EXPORT}"
JPEG_XL = f"JPEG XL; {EXPORT}"
PHOTOSHOP = f"a Photoshop document; {EXPORT}"
VIDEO = "a video; export single frames as images"
FORMATS = (
    Signature("PNG", (b"\x89PNG\r\n\x1a\n",)),
    Signature("JPEG", (b"\xff\xd8\xff",)),
    Signature("GIF", (b"GIF87a", b"GIF89a")),
    Signature("TIFF", (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"II\0*", b"MM*\0")),
    Signature("JPEG2000", (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")),
    Signature("WEBP", (b"WEBP",), 8),
)
OTHERS = (
    Signature("a Git LFS pointer; fetch the image: git lfs pull", (b"version https://git-lfs.github.com/",)),
    Signature("a git-annex pointer; fetch the image: git annex get", (b"/annex/objects/", b"../.git/annex/")),
    Signature("PDF; export its pages as PNG or JPEG", (b"%PDF-", b"\xef\xbb\xbf%PDF-")),
    Signature(f"PostScript; {EXPORT}", (b"%!PS", b"\xc5\xd0\xd3\xc6")),
    Signature(PHOTOSHOP, (b"8BPS",)),
    Signature(JPEG_XL, (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")),
    Signature(RAW, (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb", b"\0MRM")),
    Signature(VIDEO, (b"\x1a\x45\xdf\xa3", b"\0\0\1\xba", b"\0\0\1\xb3", b"FLV\1", b"OggS")),
    Signature(VIDEO, (b"AVI ",), 8),
    Signature("an archive; unpack it", BINARY),
    Signature(f"an icon; {EXPORT}", (b"\0\0\1\0", b"icns")),
    Signature(f"an OpenEXR image; {EXPORT}", (b"\x76\x2f\x31\x01",)),
    Signature(f"a DICOM file; {EXPORT}", (b"DICM",), 128),
    Signature(f"a FITS file; {EXPORT}", (b"SIMPLE  =",)),
    Signature("a NumPy array; save it as PNG", (b"\x93NUMPY",)),
    Signature("metadata of macOS; delete it", (b"\0\5\x16\7",)),
)
HEIF_BRANDS = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}
PPM = re.compile(rb"P[1-6y](\s+#[^\n]*)*\s+\d+\s|P[fF]\s+\d+\s")
PAGE = re.compile(rb"<(!doctype html|html|head|body|meta|script)\b")


def format_of(head: bytes) -> str | None:
    """Returns the format of an image by the first bytes of its file; None if it has none of the supported formats.

    TGA has no signature, so only `opened` tries it.
    """
    if head[8:11] == b"CR\2":  # Canon's RAW is a TIFF
        return None
    if head[4:8] == b"ftyp":
        return _format_of_brands(head)
    if head[:2] == b"BM" and head[15:18] == b"\0\0\0":
        return "BMP"
    if head[:4] == b"\x28\0\0\0" and head[12:14] == b"\1\0":
        return "DIB"
    if PPM.match(head):
        return "PPM"
    return _match(FORMATS, head)


def _format_of_brands(head: bytes) -> str | None:
    """Returns the format of an ISO media file, whose brands are four bytes each."""
    box = head[8 : min(int.from_bytes(head[:4]), HEAD)]
    brands = {box[start : start + 4] for start in range(0, len(box), 4)}
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    return HEIF if brands & HEIF_BRANDS else None


def _match(signatures: tuple[Signature, ...], head: bytes) -> str | None:
    kinds = (kind for kind, magic, offset in signatures if head.startswith(magic, offset))
    return next(kinds, None)


def described(head: bytes) -> str:
    """Says what a file is that is no supported image, by its first bytes, and what to do about it."""
    if not head:
        return "an empty file; copy it again"
    if head[8:11] == b"CR\2" or head[4:12] == b"ftypcrx ":
        return RAW
    if head[4:8] == b"ftyp":
        return VIDEO
    return _match(OTHERS, head) or _described_text(head)


def is_refused(head: bytes) -> bool:
    """Returns whether a file is an image, by its first bytes, but in a format that is not supported."""
    return described(head) in {RAW, JPEG_XL, PHOTOSHOP}


def _described_text(head: bytes) -> str:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if PAGE.search(text):
        return "an HTML page; download the image again"
    if b"<svg" in text:
        return f"SVG; {EXPORT}"
    if not head.strip(b"\0"):
        return "a file of zeros; copy it again"
    if re.fullmatch(rb"[\t\n\f\r -\xff]*", head):
        return "text; replace it with the image"
    return "in no supported format; save it as PNG or JPEG"
