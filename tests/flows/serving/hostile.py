"""Requests of attackers: hostile bodies, and requests whose end is unclear (request smuggling)."""

from __future__ import annotations

import base64
import gzip
import io
import json
import random
import struct
import zlib
from collections.abc import Iterator

from PIL import Image

from tests.registered.drawing import picture

FORM = "multipart/form-data; boundary=b"
INFER = "/v2/models/rootstock/infer"


def bodies(count: int, seed: int) -> Iterator[tuple[str, str, bytes]]:
    """Yields paths, content types and bodies."""
    rng = random.Random(seed)
    kinds = (damaged, bomb, forms, nested, base64_text, infer, noise)
    for number in range(count):
        yield kinds[number % len(kinds)](rng)


def damaged(rng: random.Random) -> tuple[str, str, bytes]:
    """An image of any format, cut off or with changed bytes."""
    file = io.BytesIO()
    kind = rng.choice(["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "PPM", "TGA"])
    Image.open(io.BytesIO(picture(rng.randrange(9)))).convert("RGB").save(file, kind)
    data = bytearray(file.getvalue())
    for _ in range(rng.randrange(8)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return "/predict", "image/png", bytes(data[: rng.randrange(1, len(data) + 1)])


def bomb(rng: random.Random) -> tuple[str, str, bytes]:
    """A PNG of a few bytes that says that it has up to 10^10 pixels, or whose text unpacks to much."""
    side = rng.choice([2**15, 2**16, 10**5, 2**31 - 1])
    header = struct.pack(">2I5B", side, rng.choice([1, side]), 8, 0, 0, 0, 0)
    text = b"a\0\0" + zlib.compress(b"x" * 10**6)
    chunks = [(b"IHDR", header), (b"zTXt", text), (b"IDAT", zlib.compress(bytes(10**5))), (b"IEND", b"")]
    return "/predict", "image/png", b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def forms(rng: random.Random) -> tuple[str, str, bytes]:
    """A form with broken parts, many parts, or names that are paths."""
    name = rng.choice([b"../../etc/passwd", b"a" * 10_000, b"\xff\xfe", b'"; filename="x', b"\r\nX: y"])
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="' + name + b'"\r\n\r\n'
    parts = head + picture(1) + b"\r\n"
    endings = (b"--b--\r\n", b"", b"--b", b"--c--", parts * 100, b"--b\r\n" * 1000, b"--b\r\n" + b"A: b\r\n" * 1000)
    return "/predict", FORM, parts + rng.choice(endings)


def nested(rng: random.Random) -> tuple[str, str, bytes]:
    """JSON that is deep, long, or of another form."""
    texts = ("[" * 10**5, '{"a":' * 10**4, "1" * 10**5, '{"images": [' + "1," * 10**4 + "1]}", "NaN", '"\\ud800"')
    more = ('{"images": {"0": "a"}}', '{"images": [null, [], {}, {"data": {}}]}', '{"images": ["' + "A" * 10**6 + '"]}')
    return "/predict", "application/json", rng.choice(texts + more).encode()


def base64_text(rng: random.Random) -> tuple[str, str, bytes]:
    """Base64 of anything, with anything between."""
    data = base64.b64encode(rng.randbytes(rng.randrange(300))).decode()
    text = rng.choice(
        [data, data[:-1], f"data:image/png;base64,{data}", data.replace("A", "\n"), f"file:///etc/passwd{data}"]
    )
    images = [{"name": rng.choice(["a", "\ud800", "../b"]), "data": text}] * 3
    return "/predict?distribution=true&embedding=true", "application/json", json.dumps({"images": images}).encode()


def infer(rng: random.Random) -> tuple[str, str, bytes]:
    """A request of the Open Inference Protocol with wrong shapes, types and lengths."""
    shape = rng.choice([[1], [0], [-1], [10**9], [1, 3, 32, 32], [2**63], [1.5], "x", [[1]]])
    data = rng.choice([[], ["YQ=="], [1e300] * 10, [[[]]], {"a": 1}, None, ["A" * 10**5]])
    tensor = {"name": rng.choice(["image", "tensor", ""]), "datatype": rng.choice(["BYTES", "FP32", "INT8"])}
    tensor |= {"shape": shape, "data": data, "parameters": rng.choice([{}, {"binary_data_size": 10**9}, 5])}
    request = {"inputs": [tensor], "outputs": [{"name": rng.choice(["label", "\ud800"])}, 5], "id": "\ud800"}
    return INFER, "application/json", json.dumps(request).encode()


def noise(rng: random.Random) -> tuple[str, str, bytes]:
    """Any bytes as any content type."""
    kinds = ["image/png", "application/json", FORM, "multipart/form-data", "", "application/octet-stream", "\xe4/\xff"]
    data = rng.randbytes(rng.randrange(2000))
    return "/predict", rng.choice(kinds), rng.choice([data, gzip.compress(data)])


def smuggling(count: int, seed: int) -> Iterator[bytes]:
    """Yields requests of which a proxy and a server may see different ends, and what may be seen as a second one."""
    rng = random.Random(seed)
    second = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
    encodings = (
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding:\tchunked",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: chunked, identity",
        b"Transfer-Encoding: identity, chunked",
        b" Transfer-Encoding: chunked",
        b"X: y\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        b"Content-Length: 7",
        b"Content-Length: +5",
        b"Content-Length: 5, 6",
        b"Content-Length: 0x5",
        b"Content-Length: -1",
    )
    chunked = (
        b"0\r\n\r\n",
        b"0\r\n\r\n" + second,
        b"5;a=\n\r\nabcde\r\n0\r\n\r\n",
        b"-1\r\n\r\n",
        b"ffffffffffffffff1\r\n",
    )
    for _ in range(count):
        length = b"Content-Length: %d" % rng.choice([0, 4, 5, len(second)])
        lines = [length, rng.choice(encodings)]
        rng.shuffle(lines)
        body = rng.choice(chunked) + rng.choice([b"", second])
        yield b"POST /predict HTTP/1.1\r\nHost: localhost\r\n" + b"\r\n".join(lines) + b"\r\n\r\n" + body
