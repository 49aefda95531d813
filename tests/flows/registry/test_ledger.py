from __future__ import annotations

import json

import pytest

from flows.registry.ledger import Event, Ledger
from flows.registry.ledger_owner import ledger_path
from tasks.core.errors import RootstockError
from tests.errors import raises


def test_a_line_that_was_cut_off_counts_as_never_written(registry):
    registry.request(registry.version())
    registry.reconcile()
    with registry.ledger.open("a") as file:
        file.write('{"at": "2026-')
    assert registry.reconcile() == []
    assert len(Ledger(registry.ledger).entries) == 1


def test_each_model_has_a_separate_ledger():
    assert ledger_path("one") != ledger_path("two")


def test_a_modified_line_is_detected(registry):
    registry.request(registry.version())
    registry.reconcile()
    line = json.loads(registry.ledger.read_text())
    registry.ledger.write_text(json.dumps({**line, "why": "nothing"}) + "\n")
    with raises(RootstockError, "ledger-changed") as caught:
        registry.reconcile()
    assert "line 1 " in str(caught.value)


ENTRY = {"at": "2026-01-01T00:00:00+00:00", "event": "found", "version": "1", "wish": "", "why": "", "seal": ""}


@pytest.mark.parametrize(
    "line",
    [
        *("3", "null", "[]", '"text"', "{}", "{", "[" * 100_000, '{"at": "\\ud800"}'),
        json.dumps(ENTRY),
        *(json.dumps({**ENTRY, "live": None, **wrong}) for wrong in ({"at": "now"}, {"live": 3}, {"seal": None})),
        *(json.dumps({**ENTRY, "live": None, **wrong}) for wrong in ({"made": "3"}, {"version": 1}, {"wish": None})),
    ],
)
def test_a_line_that_is_no_entry_is_named(tmp_path, line):
    file = tmp_path / "ledger.jsonl"
    Ledger(file).add(Event.RELEASED, "1", "a request", "1", "why", 3)
    with file.open("a") as opened:
        opened.write(line + "\n")
    with raises(RootstockError, "ledger-damaged") as caught:
        Ledger(file)
    assert "line 2 " in str(caught.value)


def test_a_ledger_of_other_bytes_is_named(tmp_path):
    (tmp_path / "ledger.jsonl").write_bytes(b"\xff\xfe\n")
    with raises(RootstockError, "ledger-damaged"):
        Ledger(tmp_path / "ledger.jsonl")
