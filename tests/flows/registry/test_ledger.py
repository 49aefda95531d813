from __future__ import annotations

import json

from flows.registry.ledger import Ledger
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
