"""Pictures that have ended their worker twice are not tried again."""

from __future__ import annotations

import os

import pytest

from tasks.serving import quarantine
from tasks.serving.quarantine import Quarantine


def test_what_a_dead_worker_was_trying_is_quarantined_by_its_successor(tmp_path):
    place = Quarantine(tmp_path, "0")
    place.settle()
    with pytest.raises(ValueError, match="broken"), place.trying(b"good"):
        raise ValueError("broken")  # an error of Python ends no process
    left = place.trying(b"bad")
    left.__enter__()  # and the process dies
    assert not place.holds(b"bad")
    assert Quarantine(tmp_path, "1").settle() == []  # another worker of the same machine
    assert len(Quarantine(tmp_path, "0").settle()) == 1
    assert place.holds(b"bad")
    assert not place.holds(b"good")


def test_the_oldest_are_forgotten(tmp_path, monkeypatch):
    monkeypatch.setattr(quarantine, "MOST", 2)
    place = Quarantine(tmp_path, "0")
    for age, data in enumerate((b"3", b"1", b"2")):
        left = place.trying(data)
        left.__enter__()
        place.settle()
        os.utime(place._file(data), (age, age))
    place.settle()
    assert [place.holds(data) for data in (b"3", b"1", b"2")] == [False, True, True]
