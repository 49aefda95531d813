"""The Open Inference Protocol: requests and responses, in JSON and binary."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.serving.bodies import BodyError
from tasks.serving.open_inference import OutputTensor, parsed_request, response

SIDE, MOST = 2, 3
TENSOR = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2)


def parse(content, tail=b"", length="right"):
    head = content if isinstance(content, bytes) else json.dumps(content).encode()
    return parsed_request(head + tail, str(len(head)) if length == "right" else length, SIDE, MOST)


def images(*texts, **more):
    return {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [len(texts)], "data": list(texts), **more}]}


def packed(*contents):
    return b"".join(len(each).to_bytes(4, "little") + each for each in contents)


def binary(name, datatype, shape, tail):
    return {
        "inputs": [{"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": len(tail)}}]
    }


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=MOST))
def test_images_are_read_from_json_and_from_binary_data(contents):
    texts = [base64.b64encode(each).decode() for each in contents]
    assert parse(images(*texts)).images == contents
    tail = packed(*contents)
    assert parse(binary("image", "BYTES", [len(contents), 1], tail), tail).images == contents


def test_tensors_are_read_from_json_and_from_binary_data():
    fields = {"name": "tensor", "datatype": "FP32", "shape": [2, 3, 2, 2]}
    for data in (TENSOR.tolist(), TENSOR.ravel().tolist()):
        np.testing.assert_array_equal(parse({"inputs": [{**fields, "data": data}]}).images, TENSOR[:, None])
    tail = TENSOR.tobytes()
    np.testing.assert_array_equal(parse(binary("tensor", "FP32", [2, 3, 2, 2], tail), tail).images, TENSOR[:, None])


@pytest.mark.parametrize(
    ("content", "tail", "length"),
    [
        (b"x", b"", None),
        (b"[]", b"", None),
        ({}, b"", None),
        ({"inputs": [1]}, b"", None),
        (images("?"), b"", None),
        (images(5), b"", None),
        (images("YQ==", shape=[2]), b"", None),
        (images("YQ==", shape=["1"]), b"", None),
        (images("YQ==", shape=[True]), b"", None),
        (images("YQ==", shape=[1, 2]), b"", None),
        (images("YQ==", datatype="FP32"), b"", None),
        (images("YQ==", name="other"), b"", None),
        (images("YQ=="), b"", "-1"),
        (images("YQ=="), b"", "99999"),
        (images("YQ=="), b"", "²"),
        (images("YQ=="), b"", "9" * 5000),
        (images("YQ=="), b"more", "right"),
        (binary("image", "BYTES", [1], b"\x05\0\0\0a"), b"\x05\0\0\0a", "right"),
        (binary("image", "BYTES", [1], b"\x05"), b"\x05", "right"),
        (binary("image", "BYTES", [1], packed(b"a", b"b")), packed(b"a", b"b"), "right"),
        (binary("tensor", "FP32", [1, 3, 2, 2], b"1234"), b"1234", "right"),
        ({"inputs": [{"name": "tensor", "datatype": "FP32", "shape": [1, 3, 2, 2], "data": ["x"] * 12}]}, b"", None),
        ({"inputs": [{"name": "tensor", "datatype": "FP32", "shape": [1, 3, 2, 2], "data": [1e99] * 11}]}, b"", None),
    ],
)
def test_what_is_not_of_the_protocol_is_refused_in_words(content, tail, length):
    with pytest.raises(BodyError) as error:
        parse(content, tail, length)
    assert error.value.status == 400


def test_more_images_than_are_allowed_are_refused():
    with pytest.raises(BodyError, match="at most 3"):
        parse(images(*["YQ=="] * 4))


@given(st.binary(max_size=200), st.none() | st.integers(0, 300).map(str))
def test_no_request_fails_in_another_way(body, length):
    with pytest.raises(BodyError):
        parsed_request(body, length, SIDE, MOST)


TENSORS = [
    OutputTensor("label", "BYTES", (2,), ["ä", "b"]),
    OutputTensor("confident", "BOOL", (2,), np.array([True, False])),
    OutputTensor("distribution", "FP32", (2, 2), np.array([[0.25, 0.75], [0.5, 0.5]])),
]


def test_outputs_are_json_unless_asked_for_as_binary():
    body, length = response(parse(images("YQ==")), "m", "3", TENSORS)
    assert length is None
    outputs = {each["name"]: each for each in json.loads(body)["outputs"]}
    assert outputs["label"]["data"] == ["ä", "b"]
    assert outputs["distribution"]["data"] == [0.25, 0.75, 0.5, 0.5]


def test_binary_outputs_follow_the_json_in_order():
    asked = images("YQ==") | {
        "outputs": [{"name": "label", "parameters": {"binary_data": True}}, {"name": "confident"}]
    }
    body, length = response(parse(asked), "m", "3", TENSORS[:2])
    assert body[length:] == packed("ä".encode(), b"b")
    all_binary = images("YQ==") | {"parameters": {"binary_data_output": True}}
    body, length = response(parse(all_binary), "m", "3", TENSORS)
    assert body[length:] == packed("ä".encode(), b"b") + b"\x01\x00" + TENSORS[2].values.astype("<f4").tobytes()
