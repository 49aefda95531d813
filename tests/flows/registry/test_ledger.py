from __future__ import annotations

import json

import pytest

from flows.registry.ledger import Ledger
from flows.release import ledger_of
from tasks.core.errors import RootstockError


def test_a_line_that_was_cut_off_counts_as_never_written(registry):
    registry.wish(registry.version())
    registry.reconcile()
    with registry.ledger.open("a") as file:
        file.write('{"at": "2026-')
    assert registry.reconcile() == []
    assert len(Ledger(registry.ledger).entries) == 1


def test_models_have_ledgers_of_their_own():
    assert ledger_of("one") != ledger_of("two")


def test_a_line_that_was_changed_is_noticed(registry):
    registry.wish(registry.version())
    registry.reconcile()
    line = json.loads(registry.ledger.read_text())
    registry.ledger.write_text(json.dumps({**line, "why": "nothing"}) + "\n")
    with pytest.raises(RootstockError, match="line 1 was changed"):
        registry.reconcile()
