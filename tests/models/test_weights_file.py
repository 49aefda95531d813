from __future__ import annotations

import hashlib
import os

import pytest
import torch

from tasks.core.errors import RootstockError
from tasks.models.weights_file import SHA256, read, write
from tests.errors import raises


def test_tensors_and_description_survive_and_halves_become_floats(tmp_path):
    write(
        tmp_path / "w.safetensors",
        {"a": torch.ones(2, 3).half().T, "n": torch.tensor(7)},
        {"preprocessing": {"crop": 8}},
    )
    state, description = read(tmp_path / "w.safetensors")
    assert state["a"].dtype == torch.float32
    assert state["a"].shape == (3, 2)
    assert state["n"].item() == 7
    assert description == {"preprocessing": {"crop": 8}}


def test_a_header_length_that_looks_like_a_pickle_is_read_as_safetensors(tmp_path):
    """Safetensors begins with its header's length: the bytes of 640 are those at the start of a pickle."""
    file = tmp_path / "w.safetensors"
    for filling in range(700):
        write(file, {"a": torch.ones(2)}, {"filling": "x" * filling})
        if file.read_bytes()[:2] == b"\x80\x02":
            break
    assert file.read_bytes()[:2] == b"\x80\x02"
    state, description = read(file)
    assert description == {"filling": "x" * filling}
    assert torch.equal(state["a"], torch.ones(2))


@pytest.mark.parametrize("zipped", [True, False])
def test_pytorch_files_are_read(tmp_path, zipped):
    torch.save({"a": torch.ones(2)}, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    state, description = read(tmp_path / "w.pth")
    assert torch.equal(state["a"], torch.ones(2))
    assert description == {SHA256: hashlib.sha256((tmp_path / "w.pth").read_bytes()).hexdigest()}


def test_a_state_dict_may_be_wrapped(tmp_path):
    torch.save({"state_dict": {"a": torch.ones(2)}, "epoch": 3}, tmp_path / "w.pth")
    assert set(read(tmp_path / "w.pth")[0]) == {"a"}


class Evil:
    def __reduce__(self):
        return os.mkdir, ("owned",)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_code_is_never_run(tmp_path, monkeypatch, zipped):
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Evil()}, "evil.pth", _use_new_zipfile_serialization=zipped)
    with raises(RootstockError, "weights-unsafe"):
        read(tmp_path / "evil.pth")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("content", [b"", b"junk that is long enough to be read", b"PK\x03\x04junk"])
def test_other_files_are_refused_by_name(tmp_path, content):
    (tmp_path / "w.bin").write_bytes(content)
    with raises(RootstockError, "weights-unreadable") as caught:
        read(tmp_path / "w.bin")
    assert "w.bin" in str(caught.value)


def test_a_file_without_a_state_dict_is_refused(tmp_path):
    torch.save([torch.ones(2)], tmp_path / "w.pth")
    with raises(RootstockError, "weights-not-a-state-dict"):
        read(tmp_path / "w.pth")


def test_a_missing_file_is_reported_with_its_parameter(tmp_path):
    with raises(RootstockError, "weights-missing") as caught:
        read(tmp_path / "none.pth")
    assert "backbone.weights" in str(caught.value)


def test_a_truncated_file_is_refused(tmp_path):
    torch.save({"a": torch.ones(20), "b": torch.ones(3)}, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    content = (tmp_path / "w.pth").read_bytes()
    for length in range(0, len(content), 7):
        (tmp_path / "w.pth").write_bytes(content[:length])
        with pytest.raises(RootstockError) as caught:
            read(tmp_path / "w.pth")
        assert caught.value.key in {"weights-unreadable", "weights-unsafe"}
        assert "w.pth" in str(caught.value)
