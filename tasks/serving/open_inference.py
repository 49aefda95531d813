"""The Open Inference Protocol v2 with its binary tensor extension: requests of one or many images, and responses.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol, and extension_binary_data.md of
Triton's server. Shapes: N images, S side of the network's input.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, NamedTuple

import numpy as np

from tasks.serving.bodies import BodyError, from_base64, parsed_json

LENGTH_HEADER = "inference-header-content-length"  # bytes of JSON before the binary tensors
BINARY, BINARY_SIZE, ALL_BINARY = "binary_data", "binary_data_size", "binary_data_output"
IMAGE, TENSOR = "image", "tensor"  # names of inputs: encoded images, or preprocessed ones
DIGITS = re.compile("[0-9]{1,12}")
JSON_IMAGES, JSON_MARKS = 8, 4096  # tensors in JSON; brackets and commas of all else
ELEMENT = struct.Struct("<I")  # length before each element of a BYTES tensor
DTYPES: Mapping[str, np.dtype[Any]] = {"FP32": np.dtype("<f4"), "BOOL": np.dtype("?")}


@dataclass(frozen=True)
class InferRequest:
    """The images of a request, each encoded or as a tensor (1, 3, S, S); and the outputs asked for, none for all.

    Outputs in `binary` are returned in the binary form.
    """

    id: str
    images: list[bytes | np.ndarray]
    outputs: tuple[str, ...]
    binary: frozenset[str]
    all_binary: bool

    def is_binary(self, output: str) -> bool:
        """Returns whether an output is returned in the binary form."""
        return output in self.binary or (self.all_binary and not self.outputs)


class OutputTensor(NamedTuple):
    """A named output: BYTES as a list of texts, others as an array whose first axis is N."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: list[str] | np.ndarray


def parsed_request(body: bytes, json_length: str | None, side: int, max_images: int) -> InferRequest:
    """Parses the body of an infer request. Raises BodyError with the reason if it is not of the protocol."""
    content, tail = _split(body, json_length, JSON_IMAGES * 3 * side**2 + JSON_MARKS)
    inputs = content.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise refused(f"send one input: {IMAGE} (BYTES, an encoded image each) or {TENSOR} (FP32)")
    outputs = [output for output in _list(content, "outputs") if isinstance(output, dict)]
    return InferRequest(
        id=str(content.get("id", "")),
        images=_images(inputs[0], tail, side, max_images),
        outputs=tuple(str(output.get("name")) for output in outputs),
        binary=frozenset(str(output.get("name")) for output in outputs if _parameters(output).get(BINARY)),
        all_binary=bool(_parameters(content).get(ALL_BINARY)),
    )


def _split(body: bytes, json_length: str | None, most: int) -> tuple[dict[str, Any], memoryview]:
    """Returns the JSON of a body and the bytes of its binary tensors."""
    view = memoryview(body)
    length = len(view)
    if json_length is not None:
        if not DIGITS.fullmatch(json_length) or int(json_length) > length:
            raise refused(f"{LENGTH_HEADER} is not the length of the JSON in the body")
        length = int(json_length)
    content = parsed_json(body[:length], most)
    if not isinstance(content, dict):
        raise refused("the JSON is no object")
    return content, view[length:]


def _images(tensor: dict[str, Any], tail: memoryview, side: int, max_images: int) -> list[bytes | np.ndarray]:
    shape = tensor.get("shape")
    if not isinstance(shape, list) or not shape or not all(type(length) is int and length > 0 for length in shape):
        raise refused("the shape is no list of positive integers")
    if shape[0] > max_images:
        raise BodyError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {max_images} pictures a request")
    kind = (tensor.get("name"), tensor.get("datatype"))
    if kind == (IMAGE, "BYTES") and shape[1:] in ([], [1]):
        return list(_encoded(tensor, tail, shape[0]))
    if kind == (TENSOR, "FP32") and shape[1:] == [3, side, side]:
        return list(_array(tensor, tail, shape)[:, None])
    raise refused(f"send {IMAGE}, BYTES, of shape [N] or [N, 1], or {TENSOR}, FP32, of shape [N, 3, {side}, {side}]")


def _encoded(tensor: dict[str, Any], tail: memoryview, count: int) -> Iterator[bytes]:
    """Yields the encoded images of a BYTES tensor; in JSON they are texts in base64."""
    if _binary_size(tensor, tail) is None:
        texts = _flat(tensor.get("data"), 2)
        if len(texts) != count:
            raise refused(f"the shape says {count} images, and data holds {len(texts)}")
        try:
            yield from map(from_base64, texts)
        except ValueError as error:
            raise refused(str(error)) from None
        return
    for _ in range(count):
        length = ELEMENT.unpack(tail[: ELEMENT.size])[0] if len(tail) >= ELEMENT.size else len(tail)
        if len(tail) < ELEMENT.size + length:
            raise refused("the binary data ends within an image")
        yield bytes(tail[ELEMENT.size : ELEMENT.size + length])
        tail = tail[ELEMENT.size + length :]
    if tail:
        raise refused("the binary data holds more than the shape says")


def _array(tensor: dict[str, Any], tail: memoryview, shape: list[int]) -> np.ndarray:
    """Returns an FP32 tensor."""
    count = math.prod(shape)
    if _binary_size(tensor, tail) is not None:
        if len(tail) != count * DTYPES["FP32"].itemsize:
            raise refused("the binary data is not as long as the shape says")
        return np.frombuffer(tail, DTYPES["FP32"]).reshape(shape)
    try:
        with np.errstate(over="raise"):
            return np.array(_flat(tensor.get("data"), len(shape)), DTYPES["FP32"]).reshape(shape)
    except (ValueError, TypeError, ArithmeticError):
        raise refused(f"data does not hold {count} numbers, as the shape says") from None


def _binary_size(tensor: dict[str, Any], tail: memoryview) -> int | None:
    """Returns the length of a tensor's binary data, or None if its data is in the JSON."""
    size = _parameters(tensor).get(BINARY_SIZE)
    if size is None and not tail:
        return None
    if size != len(tail):
        raise refused(f"{BINARY_SIZE} is not the length of the binary data, which follows the JSON")
    return len(tail)


def _flat(data: object, depth: int) -> list[Any]:
    """Returns the elements of lists that are nested up to `depth`, row by row."""
    flat = data if isinstance(data, list) else []
    for _ in range(depth - 1):
        if not (flat and isinstance(flat[0], list)):
            break
        flat = [element for row in flat for element in (row if isinstance(row, list) else [row])]
    return flat


def _list(content: dict[str, Any], name: str) -> list[Any]:
    value = content.get(name)
    return value if isinstance(value, list) else []


def _parameters(content: dict[str, Any]) -> dict[str, Any]:
    value = content.get("parameters")
    return value if isinstance(value, dict) else {}


def refused(reason: str) -> BodyError:
    """Returns the error for a request that is not of the protocol."""
    return BodyError(HTTPStatus.BAD_REQUEST, reason)


def response(request: InferRequest, model: str, version: str, tensors: list[OutputTensor]) -> tuple[bytes, int | None]:
    """Returns the body of a response, and the length of its JSON if binary tensors follow it."""
    described, tails = [], []
    for tensor in tensors:
        fields: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
        if request.is_binary(tensor.name):
            tails.append(_bytes_of(tensor))
            fields["parameters"] = {BINARY_SIZE: len(tails[-1])}
        else:
            fields["data"] = tensor.values.ravel().tolist() if isinstance(tensor.values, np.ndarray) else tensor.values
        described.append(fields)
    content = {"model_name": model, "model_version": version, "id": request.id, "outputs": described}
    head = json.dumps(content, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
    return head + b"".join(tails), len(head) if tails else None


def _bytes_of(tensor: OutputTensor) -> bytes:
    if isinstance(tensor.values, np.ndarray):
        return tensor.values.astype(DTYPES[tensor.datatype]).tobytes()
    texts = [text.encode() for text in tensor.values]
    return b"".join(ELEMENT.pack(len(text)) + text for text in texts)
