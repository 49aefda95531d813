"""From a person's wish to the live model, in a real registry; a browser clicks in test_promotion."""

from __future__ import annotations

import time

import pytest

from flows.registry.ledger import Event, Ledger
from flows.registry.runs import Tag
from flows.registry.store import client
from flows.registry.verdict import NONE
from flows.registry.versions import CHAMPION, LIVE
from flows.release import reconcile, roll_back
from tasks.core.errors import RootstockError


def test_an_empty_registry_has_nothing_to_release(registry):
    assert registry.reconcile() == []
    assert not registry.ledger.exists()


def test_a_wish_for_a_version_that_passed_is_granted_once(registry):
    version = registry.version()
    registry.wish(version)
    (entry,) = registry.reconcile()
    assert (entry["event"], entry["live"]) == (Event.RELEASED, version)
    assert registry.at(LIVE) == registry.at(CHAMPION) == version
    assert registry.reconcile() == []


@pytest.mark.parametrize(
    ("verdict", "against", "proof", "told"),
    [
        ("refused", "1", "passed", "the verdict is refused: because"),
        ("undecided", "1", "passed", "gate.person_decides would let"),
        ("pass", "none", "passed", "made against no version, but version 1 is live now"),
        ("pass", "1", "failed", "not proved"),
    ],
)
def test_a_wish_that_the_gate_does_not_allow_is_put_back_with_the_reason(registry, verdict, against, proof, told):
    first = registry.version()
    registry.wish(first)
    registry.reconcile()
    second = registry.version(verdict, against, proof)
    registry.wish(second)
    (entry,) = registry.reconcile()
    assert (entry["event"], entry["live"]) == (Event.REFUSED, first)
    assert told in entry["why"]
    assert told in client().get_model_version(registry.name, second).tags[Tag.RELEASE]
    assert registry.at(LIVE) == registry.at(CHAMPION) == first


def test_without_a_live_model_a_refused_wish_leaves_none(registry):
    registry.wish(registry.version("refused"))
    registry.reconcile()
    assert registry.at(CHAMPION) is registry.at(LIVE) is None


def test_a_persons_word_can_be_made_enough_where_the_gate_cannot_tell(registry):
    registry.wish(registry.version("undecided"))
    (entry,) = registry.reconcile(person_decides=True)
    assert entry["event"] == Event.RELEASED


def test_a_copy_made_by_the_button_is_a_wish_too_and_answered_once(registry):
    version = registry.version()
    copy = registry.copy(version)
    (entry,) = registry.reconcile()
    assert entry["event"] == Event.RELEASED
    assert registry.at(LIVE) == registry.at(CHAMPION) == version
    assert registry.reconcile() == []
    again = registry.version("refused", version)
    copy = registry.copy(again)
    (entry,) = registry.reconcile()
    assert entry["event"] == Event.REFUSED
    assert registry.at(CHAMPION) == registry.at(LIVE) == version
    assert "refused" in client().get_model_version(copy.name, copy.version).tags[Tag.RELEASE]


def test_live_moved_by_hand_or_left_behind_by_a_crash_goes_where_the_ledger_says(registry):
    first, second = registry.version(), registry.version("pass", "1")
    registry.wish(first)
    registry.reconcile()
    client().set_registered_model_alias(registry.name, LIVE, second)
    assert registry.reconcile() == []
    assert registry.at(LIVE) == first
    Ledger(registry.ledger).add(Event.RELEASED, second, "cut off here", second, "")
    registry.wish(second)
    assert registry.reconcile() == []
    assert registry.at(LIVE) == second


def test_rollback_goes_back_one_version_and_says_so(registry):
    first, second = registry.version(), registry.version("pass", "1")
    for version in (first, second):
        registry.wish(version)
        registry.reconcile()
    entry = roll_back(registry.name, registry.ledger)
    assert (entry["event"], entry["live"]) == (Event.ROLLED_BACK, first)
    assert registry.at(LIVE) == registry.at(CHAMPION) == first
    assert registry.reconcile() == []
    assert [entry["live"] for entry in Ledger(registry.ledger).entries] == [first, second, first]


def test_rolling_back_twice_does_not_come_forward_again(registry):
    versions = [registry.version("pass", against) for against in (NONE, "1", "2")]
    for version in versions:
        registry.wish(version)
        registry.reconcile()
    assert [roll_back(registry.name, registry.ledger)["live"] for _ in range(2)] == ["2", "1"]
    with pytest.raises(RootstockError, match="nothing to go back to"):
        roll_back(registry.name, registry.ledger)


def test_what_is_live_before_there_is_a_ledger_stays(registry):
    first = registry.version()
    client().set_registered_model_alias(registry.name, LIVE, first)
    registry.wish(first)
    assert registry.reconcile() == []
    assert (registry.at(LIVE), registry.at(CHAMPION)) == (first, first)
    assert [entry["event"] for entry in Ledger(registry.ledger).entries] == [Event.FOUND]


def test_a_copy_whose_version_was_deleted_is_refused_and_blocks_nothing(registry):
    gone, other = registry.version(), registry.version()
    registry.copy(gone)
    client().delete_model_version(registry.name, gone)
    registry.wish(other)
    assert [entry["event"] for entry in registry.reconcile()] == [Event.REFUSED, Event.RELEASED]


def test_a_live_version_that_was_deleted_is_live_no_more_and_blocks_nothing(registry):
    first, second, third = registry.version(), registry.version("pass", "1"), registry.version("pass", NONE)
    for version in (first, second):
        registry.wish(version)
        registry.reconcile()
    client().delete_model_version(registry.name, second)
    (entry,) = registry.reconcile()
    assert (entry["event"], entry["version"], entry["live"]) == (Event.DELETED, second, None)
    assert registry.reconcile() == []
    registry.wish(third)
    assert [entry["event"] for entry in registry.reconcile()] == [Event.RELEASED]
    assert registry.at(LIVE) == third
    assert roll_back(registry.name, registry.ledger)["live"] == first


def test_a_number_that_is_given_again_is_another_version(registry):
    """The registered model was deleted, and MLflow counts from 1 again."""
    first = registry.version()
    registry.wish(first)
    registry.reconcile()
    client().delete_registered_model(registry.name)
    time.sleep(0.01)
    client().create_registered_model(registry.name)
    assert registry.version(verdict="refused") == first
    (entry,) = registry.reconcile()
    assert (entry["event"], entry["live"]) == (Event.DELETED, None)
    assert registry.at(LIVE) is None
    with pytest.raises(RootstockError, match="nothing to go back to"):
        roll_back(registry.name, registry.ledger)


def test_two_checkouts_do_not_undo_each_others_releases(registry, tmp_path):
    first, other = registry.version(), tmp_path / "elsewhere.jsonl"
    registry.wish(first)
    registry.reconcile()
    registry.reconcile()
    for attempt in (
        lambda: roll_back(registry.name, other),
        lambda: reconcile(registry.name, person_decides=False, ledger_file=other),
    ):
        with pytest.raises(RootstockError, match=r"are written in \S+:.*ledger\.jsonl, not in .*elsewhere\.jsonl"):
            attempt()
    assert not other.exists()
    second = registry.version(against=first)
    copy = registry.copy(second)
    registry.reconcile()
    roll_back(registry.name, registry.ledger)
    client().delete_registered_model_tag(registry.name, Tag.LEDGER)
    assert reconcile(registry.name, person_decides=False, ledger_file=other) == []
    assert registry.at(LIVE) == first  # the copy had its answer: it is no wish of now
    assert copy.version
    reconcile(registry.name, person_decides=False, ledger_file=other)
    with pytest.raises(RootstockError, match=r"are written in \S+:.*elsewhere\.jsonl"):
        registry.reconcile()


def test_rollback_without_an_earlier_version_says_so(registry):
    registry.wish(registry.version())
    registry.reconcile()
    with pytest.raises(RootstockError, match="nothing to go back to"):
        roll_back(registry.name, registry.ledger)
