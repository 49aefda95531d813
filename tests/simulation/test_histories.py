"""Ten thousand histories of releases with crashes, outages, races and attacks keep the rules of the ledger."""

from __future__ import annotations

import pytest

from flows.registry import ledger_end, objections, promotion, published
from flows.registry.ledger import Ledger
from flows.registry.version_record import SignedRecord
from tests.simulation.histories import broken

EACH = 1250


@pytest.mark.slow
@pytest.mark.parametrize("part", range(8))
def test_no_history_breaks_a_rule(part):
    assert broken(range(part * EACH, (part + 1) * EACH)) == ""


def unchecked_record(_version, text):
    return SignedRecord.parsed(text).record


@pytest.mark.parametrize(
    ("place", "name", "mutant"),
    [
        (objections, "is_same_live", lambda _against, _live: True),
        (objections, "_changed", lambda _version, _record: ""),
        (objections, "unproved", lambda _record: ""),
        (objections, "refusal", lambda _record, person_decides: ""),
        (published, "_trusted", unchecked_record),
        (ledger_end, "check_continues", lambda _ledger, _entries: None),
        (Ledger, "is_answered", lambda _ledger, _request: False),
        (promotion, "repair_live_alias", lambda _name, _ledger, person_decides: []),
        (promotion, "interrupted_request", lambda _name, _ledger: None),
    ],
)
def test_a_release_that_leaves_out_a_check_breaks_a_rule(monkeypatch, place, name, mutant):
    monkeypatch.setattr(place, name, mutant)
    assert broken(range(700))
