"""From a promotion request to the live model, in a real registry; in tests/end_to_end, a browser clicks the buttons."""

from __future__ import annotations

import re
import time

import pytest

from flows.registry import promotion
from flows.registry.aliases import CHAMPION, LIVE, PRODUCTION
from flows.registry.ledger import Ledger
from flows.registry.ledger_lines import Event
from flows.registry.ledger_owner import OtherLedgerError
from flows.registry.promotion import reconcile, roll_back
from flows.registry.store import client
from flows.registry.tags import Tag
from flows.registry.verdict import NONE
from tasks.core.errors import RootstockError
from tests.errors import raises


def killed_at(monkeypatch, step, act):
    """Runs `act` as if it were killed at this step of the release."""
    with monkeypatch.context() as killed:
        killed.setattr(promotion, step, lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            act()


def during_check(monkeypatch, registry, happens):
    """Returns the lines of a release during whose check of a version something happens."""
    check = promotion.objection
    with monkeypatch.context() as slow:
        slow.setattr(promotion, "objection", lambda *what, **how: (happens(), check(*what, **how))[1])
        return registry.reconcile()


def test_an_empty_registry_has_nothing_to_release(registry):
    assert registry.reconcile() == []
    assert not registry.ledger.exists()


def test_a_request_for_a_version_that_passed_is_granted_once(registry):
    version = registry.version()
    registry.request(version)
    (entry,) = registry.reconcile()
    assert (entry["event"], entry["live"]) == (Event.RELEASED, version)
    assert registry.at(LIVE) == registry.at(CHAMPION) == version
    assert registry.reconcile() == []


@pytest.mark.parametrize(
    ("verdict", "against", "proof", "fact"),
    [
        ("refused", "1", "passed", "refused: because"),
        ("undecided", "1", "passed", "gate.person_decides"),
        ("pass", "none", "passed", "against no version, but version 1 is live"),
        ("pass", "1", "failed", "did not reproduce"),
    ],
)
def test_a_request_that_the_gate_does_not_allow_is_refused_with_the_reason(registry, verdict, against, proof, fact):
    first = registry.version()
    registry.request(first)
    registry.reconcile()
    second = registry.version(verdict, against, proof)
    registry.request(second)
    (entry,) = registry.reconcile()
    assert (entry["event"], entry["live"]) == (Event.REFUSED, first)
    assert fact in entry["why"]
    assert fact in client().get_model_version(registry.name, second).tags[Tag.RELEASE]
    assert registry.at(LIVE) == registry.at(CHAMPION) == first


def test_without_a_live_model_a_refused_request_leaves_none(registry):
    registry.request(registry.version("refused"))
    registry.reconcile()
    assert registry.at(CHAMPION) is registry.at(LIVE) is None


def test_a_person_may_decide_where_the_verdict_is_undecided(registry):
    registry.request(registry.version("undecided"))
    (entry,) = registry.reconcile(person_decides=True)
    assert entry["event"] == Event.RELEASED


def test_a_copy_made_by_the_button_is_also_a_request_and_handled_once(registry):
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


def test_a_live_alias_moved_by_hand_or_left_by_a_crash_is_reset_to_the_ledgers_version(registry):
    first, second = registry.version(), registry.version("pass", "1")
    registry.request(first)
    registry.reconcile()
    client().set_registered_model_alias(registry.name, LIVE, second)
    (entry,) = registry.reconcile()
    assert (entry["event"], entry["version"], entry["live"]) == (Event.CORRECTED, second, first)
    assert registry.at(LIVE) == first
    Ledger(registry.ledger).add(Event.RELEASED, second, "cut off here", live=registry.as_live(second))
    registry.request(second)
    assert [entry["event"] for entry in registry.reconcile()] == [Event.CORRECTED]
    assert registry.at(LIVE) == second


@pytest.mark.parametrize(("verdict", "event"), [("pass", Event.RELEASED), ("refused", Event.REFUSED)])
@pytest.mark.parametrize("kind", ["request", "copy"])
def test_an_answer_that_was_killed_before_it_set_its_tags_is_completed(registry, monkeypatch, verdict, event, kind):
    registry.request(registry.version())
    registry.reconcile()
    second = registry.version(verdict, "1")
    copy = getattr(registry, kind)(second)
    killed_at(monkeypatch, "_restore_champion", registry.reconcile)
    assert registry.reconcile() == []
    live = second if event == Event.RELEASED else "1"
    assert registry.at(LIVE) == registry.at(CHAMPION) == live
    for version in (
        client().get_model_version(registry.name, second),
        copy and client().get_model_version(copy.name, copy.version),
    ):
        assert version is None or version.tags[Tag.RELEASE].startswith(event)


def test_a_copy_whose_release_was_killed_after_champion_moved_is_answered_once(registry):
    version = registry.version()
    registry.copy(version)
    registry.request(version)  # as the release does first
    (entry,) = registry.reconcile()
    assert (entry["event"], entry["live"]) == (Event.RELEASED, version)
    assert entry["wish"].startswith("copy 1 ")


def test_an_answer_to_an_earlier_version_with_the_same_number_is_not_completed(registry):
    registry.request(registry.version("refused"))
    registry.reconcile()
    client().delete_registered_model(registry.name)
    client().create_registered_model(registry.name)
    time.sleep(1.1)
    registry.request(registry.version())  # which has the number 1 again
    (entry,) = registry.reconcile()
    assert (entry["event"], registry.at(LIVE)) == (Event.RELEASED, "1")


def test_an_answer_is_completed_though_a_statement_came_after_it(registry, monkeypatch):
    registry.request(registry.version("refused"))
    killed_at(monkeypatch, "_restore_champion", registry.reconcile)
    registry.version()
    assert registry.reconcile() == []
    assert registry.at(CHAMPION) is None
    assert "refused" in client().get_model_version(registry.name, "1").tags[Tag.RELEASE]


def test_a_request_that_is_moved_while_it_is_checked_is_answered_for_the_version_it_moved_to(registry, monkeypatch):
    first, second = registry.version(), registry.version()
    registry.request(first)
    assert during_check(monkeypatch, registry, lambda: registry.request(second)) == []
    (entry,) = registry.reconcile()
    assert (entry["event"], entry["version"]) == (Event.RELEASED, second)


@pytest.mark.parametrize("to", ["live", "nothing"])
def test_a_request_that_is_withdrawn_while_it_is_checked_is_not_granted(registry, monkeypatch, to):
    registry.request(registry.version())
    registry.reconcile()
    second = registry.version("pass", "1")
    registry.request(second)
    withdraw = {
        "live": lambda: registry.request("1"),
        "nothing": lambda: client().delete_registered_model_alias(registry.name, CHAMPION),
    }
    assert during_check(monkeypatch, registry, withdraw[to]) == []
    assert registry.at(LIVE) == "1"


def test_a_request_by_alias_that_is_made_while_a_copy_is_checked_is_kept(registry, monkeypatch):
    first, second = registry.version(), registry.version()
    registry.copy(first)
    during_check(monkeypatch, registry, lambda: registry.request(second))
    assert (registry.at(LIVE), registry.at(CHAMPION)) == (first, second)


def test_a_killed_answer_does_not_take_a_request_that_came_after_another_verdict(registry, monkeypatch):
    registry.request(registry.version("refused"))
    killed_at(monkeypatch, "tag_outcome", registry.reconcile)
    registry.judge("1", NONE)
    registry.request("1")
    assert [entry["event"] for entry in registry.reconcile()] == [Event.RELEASED]


def test_a_killed_rollback_is_finished_though_a_statement_came_after_it(registry, monkeypatch):
    versions = [registry.version("pass", against) for against in (NONE, "1", "2")]
    for version in versions:
        registry.request(version)
        registry.reconcile()
    with monkeypatch.context() as killed:
        killed.setattr(promotion, "set_alias", lambda _name, alias, _live: 1 / 0 if alias == LIVE else None)
        with pytest.raises(ZeroDivisionError):
            roll_back(registry.name, registry.ledger)
    registry.version()
    assert roll_back(registry.name, registry.ledger)["live"] == "2"


def test_a_request_made_after_a_killed_answer_is_kept(registry, monkeypatch):
    registry.request(registry.version("refused"))
    killed_at(monkeypatch, "_restore_champion", registry.reconcile)
    registry.request(registry.version())
    assert [entry["event"] for entry in registry.reconcile()] == [Event.RELEASED]
    assert registry.at(LIVE) == "2"


def test_rollback_returns_to_the_previous_version_and_reports_it(registry):
    first, second = registry.version(), registry.version("pass", "1")
    for version in (first, second):
        registry.request(version)
        registry.reconcile()
    entry = roll_back(registry.name, registry.ledger)
    assert (entry["event"], entry["live"]) == (Event.ROLLED_BACK, first)
    assert registry.at(LIVE) == registry.at(CHAMPION) == first
    assert registry.reconcile() == []
    assert [entry["live"] for entry in Ledger(registry.ledger).releases] == [first, second, first]


def test_a_rollback_that_was_killed_is_finished_by_the_next(registry, monkeypatch):
    versions = [registry.version("pass", against) for against in (NONE, "1", "2")]
    for version in versions:
        registry.request(version)
        registry.reconcile()
    with monkeypatch.context() as killed:
        killed.setattr(promotion, "set_alias", lambda _name, alias, _live: 1 / 0 if alias == LIVE else None)
        with pytest.raises(ZeroDivisionError):
            roll_back(registry.name, registry.ledger)
    assert registry.at(LIVE) == "3"
    assert roll_back(registry.name, registry.ledger)["live"] == "2"
    assert registry.at(LIVE) == "2"
    assert roll_back(registry.name, registry.ledger)["live"] == "1"


def test_a_second_rollback_does_not_undo_the_first(registry):
    versions = [registry.version("pass", against) for against in (NONE, "1", "2")]
    for version in versions:
        registry.request(version)
        registry.reconcile()
    assert [roll_back(registry.name, registry.ledger)["live"] for _ in range(2)] == ["2", "1"]
    with raises(RootstockError, "nothing-to-roll-back"):
        roll_back(registry.name, registry.ledger)


def test_what_is_live_before_there_is_a_ledger_stays(registry):
    first = registry.version()
    client().set_registered_model_alias(registry.name, LIVE, first)
    registry.request(first)
    assert registry.reconcile() == []
    assert (registry.at(LIVE), registry.at(CHAMPION)) == (first, first)
    assert [entry["event"] for entry in Ledger(registry.ledger).releases] == [Event.ADOPTED]


def test_a_copy_whose_version_was_deleted_is_refused_and_blocks_nothing(registry):
    gone, other = registry.version(), registry.version()
    registry.copy(gone)
    client().delete_model_version(registry.name, gone)
    registry.request(other)
    assert [entry["event"] for entry in registry.reconcile()] == [Event.REFUSED, Event.RELEASED]


def test_a_live_version_that_was_deleted_is_live_no_more_and_blocks_nothing(registry):
    first, second, third = registry.version(), registry.version("pass", "1"), registry.version("pass", NONE)
    for version in (first, second):
        registry.request(version)
        registry.reconcile()
    client().delete_model_version(registry.name, second)
    (entry,) = registry.reconcile()
    assert (entry["event"], entry["version"], entry["live"]) == (Event.DELETED, second, None)
    assert registry.reconcile() == []
    registry.judge(third, NONE)
    registry.request(third)
    assert [entry["event"] for entry in registry.reconcile()] == [Event.RELEASED]
    assert registry.at(LIVE) == third
    assert roll_back(registry.name, registry.ledger)["live"] == first


def test_a_reused_version_number_is_a_different_version(registry):
    """The registered model was deleted, and MLflow numbers versions from 1 again."""
    first = registry.version()
    registry.request(first)
    registry.reconcile()
    client().delete_registered_model(registry.name)
    time.sleep(0.01)
    client().create_registered_model(registry.name)
    assert registry.version(verdict="refused") == first
    (entry,) = registry.reconcile()
    assert (entry["event"], entry["live"]) == (Event.DELETED, None)
    assert registry.at(LIVE) is None
    with raises(RootstockError, "nothing-to-roll-back"):
        roll_back(registry.name, registry.ledger)


def test_two_checkouts_do_not_undo_each_others_releases(registry, tmp_path):
    first, other = registry.version(), tmp_path / "elsewhere.jsonl"
    registry.request(first)
    registry.reconcile()
    registry.reconcile()
    for attempt in (
        lambda: roll_back(registry.name, other),
        lambda: reconcile(registry.name, person_decides=False, ledger_file=other),
    ):
        with raises(OtherLedgerError, "other-ledger") as caught:
            attempt()
        assert {str(registry.ledger), str(other)} <= set(re.findall(r"/[^\s:]+\.jsonl", str(caught.value)))
    assert not other.exists()
    second = registry.version(against=first)
    copy = registry.copy(second)
    registry.reconcile()
    roll_back(registry.name, registry.ledger)
    client().delete_registered_model_tag(registry.name, Tag.LEDGER)
    assert reconcile(registry.name, person_decides=False, ledger_file=other) == []
    assert registry.at(LIVE) == first  # the copy has been answered: it is no longer a request
    assert copy.version
    reconcile(registry.name, person_decides=False, ledger_file=other)
    with raises(OtherLedgerError, "other-ledger") as caught:
        registry.reconcile()
    assert f":{other} " in str(caught.value).replace(",", " ")


def test_rollback_without_an_earlier_version_is_an_error(registry):
    registry.request(registry.version())
    registry.reconcile()
    with raises(RootstockError, "nothing-to-roll-back"):
        roll_back(registry.name, registry.ledger)


def test_an_alias_is_no_number_of_a_version(registry):
    """A copy of another model is of version `unknown`: a version with that alias does not go live for it."""
    good = registry.version()
    client().set_registered_model_alias(registry.name, "unknown", good)
    other = f"{registry.name}-other"
    client().create_registered_model(other)
    number = client().create_model_version(other, str(registry.folder)).version
    client().copy_model_version(f"models:/{other}/{number}", f"{registry.name}{PRODUCTION}")
    (entry,) = registry.reconcile()
    assert entry["event"] == Event.REFUSED
    assert registry.at(LIVE) is None
    assert Tag.RELEASE not in client().get_model_version(registry.name, good).tags
