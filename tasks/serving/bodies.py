"""Bodies of requests: a raw image, a form with files, or JSON with base64, as a list of encoded pictures."""

from __future__ import annotations

import binascii
import json
import math
from collections.abc import Callable, Iterator, Mapping
from email.message import Message
from http import HTTPStatus
from typing import Any, NamedTuple

from python_multipart import FormParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File

JSON, FORM, BYTES = "application/json", "multipart/form-data", "application/octet-stream"
MAX_NAME = 255  # characters of a picture's name that an answer repeats
MORE_PARTS = 16  # fields of a form beside pictures
MARKS_EACH = 16  # brackets and commas in JSON for each picture: parsed, each takes up to 64 bytes
DATA_URL = "data:"
EXAMPLE = '{"images": ["<base64>"]} or {"images": [{"name": "a.jpg", "data": "<base64>"}]}'


class BodyError(Exception):
    """A body that is refused as a whole, with the status of the response and the reason in words."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Picture(NamedTuple):
    """An encoded image and its name, or the reason why there is none."""

    name: str
    data: bytes
    reason: str = ""


def pictures_of(content_type: str, body: bytes, max_images: int) -> list[Picture]:
    """Returns the pictures of a body. Raises BodyError if it is not what its content type says, or holds too many."""
    header = Message()
    header["content-type"] = content_type.encode("ascii", "replace").decode() or BYTES
    kind = header.get_content_type()
    if kind not in READERS and header.get_content_maintype() != "image":
        raise BodyError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"send an image, {FORM} with files, or {JSON}: {EXAMPLE}")
    pictures: list[Picture] = []
    for picture in READERS.get(kind, _raw)(body, header, max_images):
        pictures.append(picture)
        if len(pictures) > max_images:
            raise BodyError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {max_images} pictures a request")
    if not pictures:
        raise BodyError(HTTPStatus.BAD_REQUEST, "the request holds no picture")
    return pictures


def _raw(body: bytes, _header: Message, _max_images: int) -> Iterator[Picture]:
    if body:
        yield Picture("", body)


def _of_form(body: bytes, header: Message, max_images: int) -> Iterator[Picture]:
    """Yields the files of a form, held in memory: nothing that a stranger sends is written to a disk."""
    pictures: list[Picture] = []
    try:
        boundary = header.get_boundary() or ""  # one in another encoding may fail in many ways
        count = _Count(max_images)
        config = {"MAX_MEMORY_FILE_SIZE": math.inf}
        parser = FormParser(FORM, count, _adding_to(pictures, count), boundary=boundary.encode(), config=config)
        parser.write(body)
        parser.finalize()
    except (FormParserError, ValueError) as error:
        raise BodyError(HTTPStatus.BAD_REQUEST, f"the form cannot be read: {_short(error)}") from None
    yield from pictures


class _Count:
    """Counts the parts of a form; those that are no files are left out."""

    def __init__(self, max_images: int) -> None:
        self._left = self._most = max_images + MORE_PARTS

    def __call__(self, _part: Field | File) -> None:
        self._left -= 1
        if self._left < 0:
            raise BodyError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {self._most} parts a form")


def _adding_to(pictures: list[Picture], count: _Count) -> Callable[[File], None]:
    def add(file: File) -> None:
        count(file)
        file.file_object.seek(0)
        name = (file.file_name or b"").decode("utf-8", "replace")
        pictures.append(Picture(name[:MAX_NAME], file.file_object.read()))
        file.close()

    return add


def _of_json(body: bytes, _header: Message, max_images: int) -> Iterator[Picture]:
    content = parsed_json(body, MARKS_EACH * (max_images + 1))
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list):
        raise BodyError(HTTPStatus.BAD_REQUEST, f"the JSON is not of this form: {EXAMPLE}")
    for image in images:
        fields = image if isinstance(image, dict) else {"data": image}
        yield _of_text(str(fields.get("name", ""))[:MAX_NAME], fields.get("data"))


def _of_text(name: str, text: object) -> Picture:
    try:
        return Picture(name, from_base64(text))
    except ValueError as error:
        return Picture(name, b"", str(error))


def parsed_json(body: bytes, most: int) -> Any:  # noqa: ANN401 - any JSON value
    """Parses JSON. Raises BodyError if it is none, or has more than `most` brackets and commas."""
    if sum(map(body.count, (b"[", b"{", b","))) > most:
        raise BodyError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the JSON has too many elements; send binary data")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BodyError(HTTPStatus.BAD_REQUEST, f"the body is not JSON: {_short(error)}") from None


def from_base64(text: object) -> bytes:
    """Decodes base64, also after the head of a data: URL. Raises ValueError with the reason in words."""
    if not isinstance(text, str):
        raise ValueError("the picture is not a text in base64")  # noqa: TRY004 - a reason for the client
    try:
        encoded = text.partition(",")[2] if text.startswith(DATA_URL) else text
        return binascii.a2b_base64(encoded.encode("ascii"), strict_mode=True)
    except ValueError:
        raise ValueError("the text is not base64") from None


def _short(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]


READERS: Mapping[str, Callable[[bytes, Message, int], Iterator[Picture]]] = {
    JSON: _of_json,
    FORM: _of_form,
    BYTES: _raw,
}
