"""Files made to break readers, and files with changed bytes: each is read, or refused in words."""

from __future__ import annotations

import io
import json
import shutil
import struct
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.core.errors import DamagedFileError, DataRefusedError, RootstockError
from tasks.core.files import read_json
from tasks.data.archives import unpack
from tasks.data.split_memory import read_memory
from tasks.data.tables.table import read_paths, read_table
from tasks.models import weights_file
from tests.data.hostile import mutated
from tests.errors import raises

FUZZ = settings(max_examples=150, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
SEEDS = st.integers(0, 2**32 - 1)
DEEP = "[" * 100_000


def changed(data, seed):
    """Returns the bytes after one to three changes."""
    rng = np.random.default_rng(seed)
    for _ in range(rng.integers(1, 4)):
        data = mutated(data, rng) or b"\0"
    return data


def zip_of(*names, kind=0):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            entry = zipfile.ZipInfo("placeholder")
            entry.filename, entry.external_attr = name, kind << 16
            archive.writestr(entry, b"content" * 99)
    return buffer.getvalue()


def tar_of(*names, mode="w"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = 99
            archive.addfile(entry, io.BytesIO(b"x" * 99))
    return buffer.getvalue()


ARCHIVES = {
    "a.zip": zip_of("a/1.png", "b/2.png"),
    "a.tar": tar_of("a/1.png", "b/2.png"),
    "a.tar.gz": tar_of("a/1.png", "b/2.png", mode="w:gz"),
    "a.tar.xz": tar_of("a/1.png", "b/2.png", mode="w:xz"),
}


def unpack_bytes(folder, name, data):
    shutil.rmtree(folder / "out", ignore_errors=True)
    (folder / name).write_bytes(data)
    return unpack(folder / name, folder / "out", 0.01)


@pytest.mark.parametrize(
    ("data", "key"),
    [
        (zip_of(""), "archive-path"),
        (zip_of("."), "archive-path"),
        (zip_of("a/../../b"), "archive-path"),
        (zip_of("link", kind=0o120777), "archive-link"),
        (zip_of("pipe", kind=0o010644), "archive-link"),
        (zip_of("a", "a/b.png"), "archive-damaged"),
        (zip_of("x" * 300), "archive-damaged"),
        (tar_of(""), "archive-path"),
    ],
)
def test_entries_that_no_archive_of_images_has_are_refused(tmp_path, data, key):
    with raises(DataRefusedError, key):
        unpack_bytes(tmp_path, "a.zip", data)
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_names_with_line_ends_and_zeros_stay_inside_of_the_folder(tmp_path):
    folder = unpack_bytes(tmp_path, "a.zip", zip_of("a\n/1.png", "b\0/../../2.png"))
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) == ["a\n", "a\n/1.png", "b"]


@pytest.mark.parametrize("name", ARCHIVES)
@FUZZ
@given(seed=SEEDS)
def test_changed_archives_are_unpacked_or_refused(tmp_path, name, seed):
    try:
        unpack_bytes(tmp_path, name, changed(ARCHIVES[name], seed))
    except DataRefusedError:
        assert not (tmp_path / "out").exists()


def safetensors(header, body=bytes(8)):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def tensor(**fields):
    return {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **fields}}


def described(metadata):
    return safetensors({**tensor(), "__metadata__": {"rootstock": metadata}})


@pytest.mark.parametrize(
    ("data", "key"),
    [
        *((described(text), "weights-description") for text in ("{", "3", "null", "[1]", '"x"', DEEP)),
        (safetensors({**tensor(), "__metadata__": {"rootstock": {"a": 1}}}), "weights-unreadable"),
        (safetensors({**tensor(), "__metadata__": []}), "weights-unreadable"),
        (safetensors(tensor(shape=[2**62])), "weights-unreadable"),
        (safetensors(tensor(shape=[2**63, 4])), "weights-unreadable"),
        (safetensors(tensor(data_offsets=[0, 2**63])), "weights-unreadable"),
        (safetensors(tensor(data_offsets=[8, 0])), "weights-unreadable"),
        (safetensors(tensor(dtype="F4"), bytes(1)), "weights-unreadable"),
        (safetensors(DEEP.encode()), "weights-unreadable"),
        (struct.pack("<Q", 2**63) + b"{}", "weights-unreadable"),
        (struct.pack("<Q", 10**8) + b"{}", "weights-unreadable"),
    ],
)
def test_weights_files_with_impossible_headers_are_refused(tmp_path, data, key):
    (tmp_path / "w.safetensors").write_bytes(data)
    with raises(RootstockError, key) as caught:
        weights_file.read(tmp_path / "w.safetensors")
    assert "w.safetensors" in str(caught.value)


@pytest.mark.parametrize("kind", ["safetensors", "pth"])
@FUZZ
@given(seed=SEEDS)
def test_changed_weights_files_are_read_or_refused(tmp_path, kind, seed):
    good, file = tmp_path / "good", tmp_path / "w"
    if not good.exists():
        save = weights_file.write if kind == "safetensors" else lambda path, state: torch.save(state, path)
        save(good, {"a": torch.ones(3), "b": torch.ones(2).half()})
    file.write_bytes(changed(good.read_bytes(), seed))
    for read in (weights_file.read, weights_file.read_description):
        try:
            read(file)
        except RootstockError:
            continue


ROWS = [{"path": "a.png", "label": "x"}, {"path": "b.png", "label": "y"}]
TEXTS = {
    "t.csv": b"path,label\na.png,x\nb.png,y\n",
    "t.jsonl": "".join(f"{json.dumps(row)}\n" for row in ROWS).encode(),
}


def parquet(columns):
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


TABLES = {**TEXTS, "t.parquet": parquet({"path": ["a.png", "b.png"], "label": ["x", "y"]})}


def read_bytes(folder, name, data):
    (folder / name).write_bytes(data)
    for read in (read_table, read_paths):
        try:
            read(folder / name)
        except DataRefusedError:
            continue


@pytest.mark.parametrize("name", TABLES)
@FUZZ
@given(seed=SEEDS)
def test_changed_tables_are_read_or_refused(tmp_path, name, seed):
    read_bytes(tmp_path, name, changed(TABLES[name], seed))


@pytest.mark.parametrize("row", [f'{{"path": {DEEP}', '{"path": "\\ud800.png"}', f'{{"path": {"9" * 5000}}}', "{", "3"])
def test_lines_that_are_no_row_are_refused(tmp_path, row):
    (tmp_path / "t.jsonl").write_text(row + "\n")
    with raises(DataRefusedError, "table-json"):
        read_table(tmp_path / "t.jsonl")


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(5)])
@pytest.mark.parametrize("paths", [[b"a.png", b"b.png"], [b"\xff.png", b"\0.png"]])
def test_bytes_as_paths_are_read_or_refused(tmp_path, kind, paths):
    texts = {"file": ["a.png", "b.png"], "label": ["x", "y"]}
    for more in ({}, texts):
        read_bytes(tmp_path, "t.parquet", parquet({"path": pa.array(paths, pa.binary()).cast(kind), **more}))


@pytest.mark.parametrize("text", ["", "{", DEEP, "\0", "9" * 5000])
def test_a_damaged_json_file_is_named(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with raises(DamagedFileError, "file-damaged") as caught:
        read_json(tmp_path / "a.json")
    assert "a.json" in str(caught.value)


@pytest.mark.parametrize(
    "text", ["pixels,split\na,train\n", "pixel_hash,split\na\n", "pixel_hash,split\na,no\n", "\0\n\0"]
)
def test_a_damaged_memory_of_splits_is_named(tmp_path, text):
    (tmp_path / "splits.csv").write_text(text)
    with raises(DamagedFileError, "splits-damaged"):
        read_memory(tmp_path / "splits.csv")
