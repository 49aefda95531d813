"""Names that a server tells are untrusted: whatever they are, files lie in the folder, and none replaces another."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flows.sources.remote_names import checked
from tasks.core.errors import DataRefusedError
from tests.errors import raises

ODD = ["a", "A", "b", ".", "..", "", ".git", "Thumbs.db", "c\\d", "\x00", "ä", "a\u0308"]
PARTS = st.one_of(st.sampled_from(ODD), st.text())
NAMES = st.lists(PARTS, min_size=1, max_size=4).map("/".join)


def info(size=1):
    return {"size": size}


@given(st.dictionaries(NAMES, st.integers(0, 2), max_size=6), st.booleans())
@example({"a": 1, "a/b": 1}, False)
@example({"../a": 1}, False)
def test_accepted_names_are_files_in_the_folder_and_different(tmp_path_factory, sizes, blind):
    try:
        files = checked("s3://b/x", {name: info(size) for name, size in sizes.items()}, blind=blind)
    except DataRefusedError:
        return
    root = Path(os.path.realpath(tmp_path_factory.getbasetemp())) / "names"
    places = {Path(os.path.normpath(root / name)) for name in files}
    assert len(places) == len(files)
    assert all(place.is_relative_to(root) and place != root for place in places)
    assert not any(place in other.parents for place in places for other in places)
    if blind:
        assert len({unicodedata.normalize("NFC", name).casefold() for name in files}) == len(files)
    visible = {name for name in sizes if sizes[name] and not any(part.startswith(".") for part in name.split("/"))}
    assert visible - files.keys() <= {name for name in visible if "Thumbs.db" in name.split("/")}, "none is dropped"


HOSTILE = ["../x", "a/../x", "/etc/x", "a//x", "./x", "a\\..\\x", "C:\\x", "a\nb", "a\x1b[2J", "\x7f", "\udcff"]
LONG = ["ä" * 128, "a/" * 600 + "a"]


@pytest.mark.parametrize("name", HOSTILE + LONG)
def test_a_hostile_name_is_refused_and_shown_without_control_characters(name):
    with raises(DataRefusedError, "source-names") as caught:
        checked("s3://b/x", {"bar/0.png": info(), name: info()}, blind=False)
    assert not any(unicodedata.category(each) in {"Cc", "Cs"} for each in str(caught.value))


def test_markers_of_folders_are_no_files_and_a_file_is_no_folder():
    assert checked("s3://b/x", {"": info(0), "a/": info(0), "a": info(0), "a/b": info()}, blind=False).keys() == {"a/b"}
    for names in ({"a": info(), "a/b": info()}, {"a/": info(), "a/b": info()}):
        with raises(DataRefusedError, "source-names"):
            checked("s3://b/x", names, blind=False)


def test_names_that_differ_in_case_only_are_refused_where_they_would_be_one_file():
    for names in (["a.png", "A.png"], ["x/a", "X/b"], ["ä", "a\u0308"]):
        files = {name: info() for name in names}
        assert checked("s3://b/x", files, blind=False).keys() == files.keys()
        with raises(DataRefusedError, "source-names"):
            checked("s3://b/x", files, blind=True)


def test_only_the_first_problems_are_shown():
    with raises(DataRefusedError, "source-names") as caught:
        checked("s3://b/x", {f"../{number}": info() for number in range(30)}, blind=False)
    assert "and 25 more" in str(caught.value)
