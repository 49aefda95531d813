"""Bodies of requests as pictures."""

from __future__ import annotations

import base64
import json

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.serving.bodies import BodyError, pictures_of

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=40)
FILES = st.lists(st.tuples(NAMES, st.binary(max_size=300)), min_size=1, max_size=4)


def read(content_type, body, most=4):
    return pictures_of(content_type, body, most)


def form(files):
    """Returns content type and body as httpx sends them."""
    request = httpx.Request("POST", "http://x", files=[("file", (name, data, "image/png")) for name, data in files])
    return request.headers["content-type"], request.read()


@given(st.binary(min_size=1), st.sampled_from(["image/png", "image/heic; q=1", "application/octet-stream", ""]))
def test_a_raw_body_is_one_picture(data, content_type):
    assert [(each.name, each.data) for each in read(content_type, data)] == [("", data)]


@given(FILES)
def test_the_files_of_a_form_are_read_to_the_byte(files):
    assert [each.data for each in read(*form(files))] == [data for _, data in files]


def test_files_of_a_form_keep_their_names_and_fields_are_left_out():
    request = httpx.Request("POST", "http://x", data={"note": "?"}, files={"file": ("ü b.png", b"1")})
    (picture,) = read(request.headers["content-type"], request.read())
    assert (picture.name, picture.data) == ("ü b.png", b"1")


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=4))
def test_base64_in_json_is_decoded_with_or_without_a_name(contents):
    texts = [base64.b64encode(each).decode() for each in contents]
    images = [
        text if place % 2 else {"name": f"{place}", "data": f"data:image/png;base64,{text}"}
        for place, text in enumerate(texts)
    ]
    pictures = read("application/json", json.dumps({"images": images}).encode())
    assert [each.data for each in pictures] == contents
    assert pictures[0].name == "0"


def test_what_is_no_base64_has_a_reason_and_the_others_are_read():
    pictures = read("application/json", b'{"images": ["a?", 5, "YQ=="]}')
    assert [bool(each.reason) for each in pictures] == [True, True, False]
    assert pictures[2].data == b"a"


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("text/html", b"x", 415),
        ("image/png", b"", 400),
        ("application/json", b"[1]", 400),
        ("application/json", b'{"images": "a"}', 400),
        ("application/json", b"{" * 100_000, 413),
        ("application/json", b"[" * 100_000, 413),
        ("application/json", b"\xff", 400),
        ("application/json", b'{"images": [' + b"1," * 10_000 + b"1]}", 413),
        ("multipart/form-data; boundary*=idna''%ff", b"x", 400),
        ("multipart/form-data; boundary*=" + "9" * 5000 + "=b", b"x", 400),
        ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n" * 100, 413),
        ("\xe4/\xff", b"x", 415),
        ("application/json", b'{"images": []}', 400),
        ("application/json", json.dumps({"images": ["YQ=="] * 5}).encode(), 413),
        ("multipart/form-data", b"x", 400),
        ("multipart/form-data; boundary=", b"x", 400),
        ("multipart/form-data; boundary=a", b"x", 400),
        ("multipart/form-data; boundary=a", b"--a\r\n\r\n", 400),
        ("multipart/form-data; boundary=" + "a" * 5000, b"x", 400),
    ],
)
def test_a_body_that_is_not_what_it_says_is_refused(content_type, body, status):
    with pytest.raises(BodyError) as error:
        read(content_type, body)
    assert error.value.status == status
    assert str(error.value)


def test_more_files_than_are_allowed_are_refused():
    with pytest.raises(BodyError, match="at most 4"):
        read(*form([("a", b"1")] * 5))


@given(st.binary(max_size=400), st.sampled_from(["application/json", "multipart/form-data; boundary=b", "multipart/x"]))
def test_no_body_fails_in_another_way(body, content_type):
    try:
        read(content_type, body)
    except BodyError as error:
        status = error.status
    else:
        status = 400
    assert 400 <= status < 500
