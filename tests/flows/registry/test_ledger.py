from __future__ import annotations

import json
import shutil
import socket

import pytest

from flows.registry import ledger_end, ledger_owner, signing
from flows.registry.aliases import LIVE
from flows.registry.approval import accept_ledger, approve
from flows.registry.ledger import Ledger
from flows.registry.ledger_lines import START, Event, LedgerError, seal
from flows.registry.ledger_owner import OtherLedgerError, begin_again, ledger_path
from flows.registry.promotion import reconcile, roll_back
from flows.registry.store import client
from flows.registry.tags import Tag
from flows.registry.verdict import NONE
from flows.registry.version_record import LiveVersion
from tasks.core.errors import RootstockError
from tests.errors import raises


def test_a_line_that_was_cut_off_counts_as_never_written(registry):
    registry.request(registry.version())
    registry.reconcile()
    with registry.ledger.open("a") as file:
        file.write('{"at": "2026-')
    assert registry.reconcile() == []
    assert len(Ledger(registry.ledger).releases) == 1


def test_each_model_has_a_separate_ledger():
    assert ledger_path("one") != ledger_path("two")


def test_a_modified_line_is_detected(registry):
    registry.request(registry.version())
    registry.reconcile()
    first, *others = registry.ledger.read_text().splitlines()
    lines = [json.dumps({**json.loads(first), "why": "nothing"}), *others]
    registry.ledger.write_text("\n".join(lines) + "\n")
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
    Ledger(file).add(Event.RELEASED, "1", "why", live=LiveVersion(number="1", made=3))
    with file.open("a") as opened:
        opened.write(line + "\n")
    with raises(RootstockError, "ledger-damaged") as caught:
        Ledger(file)
    assert "line 2 " in str(caught.value)


def test_a_ledger_of_other_bytes_is_named(tmp_path):
    (tmp_path / "ledger.jsonl").write_bytes(b"\xff\xfe\n")
    with raises(RootstockError, "ledger-damaged"):
        Ledger(tmp_path / "ledger.jsonl")


@pytest.fixture
def ledger(registry):
    """Returns a ledger with one release and two more lines."""
    registry.request(registry.version())
    registry.reconcile()
    registry.version()
    return registry.ledger


@pytest.mark.parametrize("lines", [0, 1, 2])
def test_a_ledger_that_was_cut_or_lost_stops_releases_until_a_person_accepts_it(registry, ledger, lines):
    whole = ledger.read_text().splitlines(keepends=True)
    assert len(whole) == 3
    ledger.write_text("".join(whole[:lines]))
    registry.request("2")
    with raises(LedgerError, "ledger-cut") as caught:
        registry.reconcile()
    assert "make approve" in str(caught.value)
    with raises(LedgerError, "ledger-cut"):
        roll_back(registry.name, ledger)
    assert registry.at(LIVE) == "1"
    with raises(RootstockError, "live-not-said"):
        accept_ledger(registry.name, None, "the disk was full", ledger)
    entry = accept_ledger(registry.name, "1", "the disk was full", ledger)
    assert (entry["event"], entry["live"]) == (Event.ACCEPTED, "1")
    assert "the disk was full" in entry["why"]
    assert [entry["event"] for entry in registry.reconcile()] == [Event.REFUSED], "what was judged is lost, too"
    with raises(RootstockError, "ledger-in-order"):
        accept_ledger(registry.name, "1", "again", ledger)


def test_an_older_ledger_of_the_same_length_is_not_continued(registry, ledger):
    lines = ledger.read_text().splitlines(keepends=True)
    ledger.write_text("".join(lines[:2]))
    ledger_end.forget(ledger)
    registry.version("refused")
    other = ledger.read_text()
    ledger.write_text("".join(lines))
    with raises(LedgerError, "ledger-cut") as caught:
        Ledger(ledger)
    assert "another line 3" in str(caught.value)
    ledger.write_text(other)
    assert len(Ledger(ledger).entries) == 3


def test_lines_that_were_added_by_nobody_who_is_trusted_release_nothing(registry, ledger, monkeypatch, tmp_path):
    monkeypatch.setenv(signing.FOLDER_VARIABLE, str(tmp_path / "attacker"))
    Ledger(ledger, check=False).add(Event.RELEASED, "2", "by me", live=registry.as_live("2"))
    key = signing.public_key()
    monkeypatch.undo()
    with raises(LedgerError, "ledger-not-signed") as caught:
        registry.reconcile()
    assert key in str(caught.value)
    assert registry.at(LIVE) == "1"


def test_an_unsigned_line_after_signed_ones_releases_nothing(registry, ledger):
    opened = Ledger(ledger)
    entry = {name: value for name, value in opened.entries[-1].items() if name not in {"signature", "key"}}
    entry |= {"event": Event.RELEASED, "live": "2", "record": None}
    entry["seal"] = seal(opened.entries[-1]["seal"], entry)
    with ledger.open("a") as file:
        file.write(json.dumps(entry) + "\n")
    with raises(LedgerError, "ledger-not-signed"):
        registry.reconcile()


def test_a_damaged_ledger_is_put_aside_when_a_person_goes_on(registry, ledger):
    content = ledger.read_bytes().replace(b'"event": "released"', b'"event": "refused"')
    ledger.write_bytes(content)
    accept_ledger(registry.name, "1", "a bad disk", ledger)
    (aside,) = ledger.parent.glob("*.put-aside")
    assert aside.read_bytes() == content
    assert registry.reconcile() == []
    assert registry.at(LIVE) == "1"


def test_the_ledger_of_an_earlier_release_is_continued_with_signatures(registry, tmp_path):
    """Its lines have no files, no record and no signature, and its version has no record."""
    version = registry.unrecorded()
    entry = {"at": "2026-01-01T00:00:00+00:00", "event": "released", "version": "1", "wish": "alias champion"}
    entry |= {"live": "1", "why": "by alias champion", "made": version.creation_timestamp, "seal": ""}
    registry.ledger.write_text(json.dumps({**entry, "seal": seal(START, entry)}) + "\n")
    client().set_registered_model_alias(registry.name, LIVE, "1")
    assert registry.reconcile() == []
    registry.request(registry.version(against="1"))
    assert [entry["event"] for entry in registry.reconcile()] == [Event.RELEASED]
    assert roll_back(registry.name, registry.ledger)["live"] == "1"


def test_a_ledger_grows_by_the_hands_of_others(registry, ledger):
    before = ledger_end._file(ledger).read_bytes()
    registry.version()
    ledger_end._file(ledger).write_bytes(before)  # this user has not seen the last line
    assert registry.reconcile() == []
    assert ledger_end._file(ledger).read_bytes() != before


def test_a_registry_that_was_removed_begins_again(registry, ledger):
    client().delete_registered_model(registry.name)
    ledger.unlink()
    client().create_registered_model(registry.name)
    with raises(LedgerError, "ledger-cut"):  # with the model there, it could be a lost one
        registry.reconcile()
    begin_again(registry.name, ledger)  # as registration does when it makes the model
    assert registry.reconcile() == []


def test_a_ledger_that_is_there_keeps_its_end_when_the_model_comes_again(registry, ledger):
    begin_again(registry.name, ledger)
    ledger.write_text("".join(ledger.read_text().splitlines(keepends=True)[:1]))
    with raises(LedgerError, "ledger-cut"):
        registry.reconcile()


def test_a_changed_owner_tag_changes_nothing_that_the_ledger_says(registry, ledger):
    """Somebody moves the alias and makes the ledger look as if it were another one."""
    client().set_registered_model_tag(registry.name, Tag.LEDGER, f"x {ledger_owner._place(ledger)}")
    client().set_registered_model_alias(registry.name, LIVE, "2")
    with raises(LedgerError, "ledger-lost"):
        registry.reconcile()
    assert accept_ledger(registry.name, None, "the tag was wrong", ledger)["live"] == "1"
    registry.reconcile()
    assert registry.at(LIVE) == "1"


@pytest.fixture
def copy(ledger, tmp_path):
    """Returns a copy of the ledger in another folder."""
    (tmp_path / "elsewhere").mkdir()
    return shutil.copy(ledger, tmp_path / "elsewhere" / ledger.name)


def test_a_copy_of_a_ledger_releases_nothing_while_the_original_is_there(registry, ledger, copy):
    with raises(OtherLedgerError, "other-ledger") as caught:
        reconcile(registry.name, person_decides=False, ledger_file=copy)
    assert str(ledger) in str(caught.value)
    ledger.unlink()  # it was moved
    assert reconcile(registry.name, person_decides=False, ledger_file=copy) == []
    assert str(copy) in client().get_registered_model(registry.name).tags[Tag.LEDGER]


def test_an_old_copy_does_not_move_live_back_when_the_original_is_gone(registry, ledger, copy):
    registry.judge("2", "1")
    registry.request("2")
    registry.reconcile()
    ledger.unlink()
    with raises(LedgerError, "ledger-older"):
        reconcile(registry.name, person_decides=False, ledger_file=copy)
    accept_ledger(registry.name, "2", "looked", copy)
    reconcile(registry.name, person_decides=False, ledger_file=copy)
    assert registry.at(LIVE) == "2"


@pytest.mark.parametrize(
    "place",
    [
        "",
        ":",
        "nowhere",
        "nowhere:/x",
        f"{socket.gethostname()}:/{'a' * 300}",
        f"{socket.gethostname()}:\x00",
        "\x00:\x00",
    ],
)
def test_a_place_in_the_tag_that_is_none_stops_nothing(registry, ledger, place):
    client().set_registered_model_tag(registry.name, Tag.LEDGER, f"{Ledger(ledger).id} {place}")
    assert registry.reconcile() == []
    assert client().get_registered_model(registry.name).tags[Tag.LEDGER].endswith(ledger_owner._place(ledger))


def test_an_old_copy_does_not_release_what_was_rolled_back_since(registry, ledger, copy):
    """Here the alias `live` is where the copy says."""
    registry.judge("2", "1")
    registry.copy("2")
    registry.reconcile()
    roll_back(registry.name, ledger)
    ledger.unlink()
    with raises(LedgerError, "ledger-older"):
        reconcile(registry.name, person_decides=False, ledger_file=copy)


def test_after_a_change_of_the_hosts_name_an_interrupted_release_is_repaired(registry, ledger, monkeypatch):
    registry.request("2")
    Ledger(ledger).add(Event.RELEASED, "2", "killed here", live=registry.as_live("2"))
    monkeypatch.setattr(ledger_owner.socket, "gethostname", lambda: "another")
    assert [entry["event"] for entry in registry.reconcile()] == [Event.CORRECTED]
    assert registry.at(LIVE) == "2"


def test_a_tag_of_an_earlier_release_names_no_line(registry, ledger):
    client().set_registered_model_tag(registry.name, Tag.LEDGER, f"{Ledger(ledger).id} {ledger_owner._place(ledger)}")
    assert registry.reconcile() == []
    assert Ledger(ledger).entries[-1]["seal"][:16] in client().get_registered_model(registry.name).tags[Tag.LEDGER]


def test_lines_of_an_unknown_signer_are_put_aside_with_what_they_state(registry, ledger, monkeypatch, tmp_path):
    monkeypatch.setenv(signing.FOLDER_VARIABLE, str(tmp_path / "attacker"))
    opened = Ledger(ledger, check=False)
    made = client().get_model_version(registry.name, "2").creation_timestamp
    forged = opened.record_of("2", made).model_copy(update={"sequence": 9, "against": opened.live})
    opened.state(Event.JUDGED, forged)
    monkeypatch.undo()
    accept_ledger(registry.name, "1", "looked at it", ledger)
    registry.request("2")
    assert [entry["event"] for entry in registry.reconcile()] == [Event.REFUSED]


def test_a_copy_that_was_answered_before_a_loss_is_not_answered_again(registry, ledger):
    whole = ledger.read_text().splitlines(keepends=True)
    registry.judge("2", "1")
    registry.copy("2")
    registry.reconcile()
    roll_back(registry.name, ledger)
    ledger.write_text("".join(whole))
    accept_ledger(registry.name, "1", "from a backup", ledger)
    assert [entry["event"] for entry in registry.reconcile()] == []
    assert registry.at(LIVE) == "1"


def test_an_approval_is_for_its_ledger(registry, ledger):
    approve(registry.name, "2", "because", ledger_file=ledger)
    roll_back(registry.name, ledger)
    ledger.unlink()
    accept_ledger(registry.name, "1", "lost", ledger)
    registry.request("2")
    assert [entry["event"] for entry in registry.reconcile()] == [Event.REFUSED]


@pytest.mark.parametrize("note", ["", "null", "3", '{"lines": -3, "seal": "", "ledger": ""}', '{"lines": "x"}', "\x00"])
def test_a_damaged_note_of_the_end_is_taken_as_none(registry, ledger, note):
    ledger_end._file(ledger).write_text(note)
    assert registry.reconcile() == []


def test_a_line_that_is_added_while_the_ledger_is_read_is_no_loss(registry, ledger, monkeypatch):
    real = type(ledger).read_bytes

    def read(file):
        data = real(file)
        monkeypatch.undo()
        Ledger(ledger).add(Event.REFUSED, "2", "by another process", live=registry.as_live("1"))
        return data

    monkeypatch.setattr(type(ledger), "read_bytes", lambda file: read(file) if file == ledger else real(file))
    assert len(Ledger(ledger).entries) == 3


def test_a_model_that_is_renamed_for_a_while_does_not_revive_verdicts_against_no_version(registry, ledger):
    second = registry.version()
    registry.judge(second, NONE)
    client().rename_registered_model(registry.name, f"{registry.name}-away")
    assert registry.reconcile() == []
    client().rename_registered_model(f"{registry.name}-away", registry.name)
    registry.request(second)
    assert [entry["event"] for entry in registry.reconcile()] == [Event.REFUSED]
    assert registry.at(LIVE) == "1"


def test_a_verdict_against_no_version_is_not_for_the_time_after_a_deletion(registry, ledger):
    second = registry.version()
    client().delete_model_version(registry.name, "1")
    registry.request(second)
    events = [entry["event"] for entry in registry.reconcile()]
    assert events == [Event.DELETED, Event.REFUSED]
    registry.judge(second, NONE)
    registry.request(second)
    assert [entry["event"] for entry in registry.reconcile()] == [Event.RELEASED], "it was judged again"


def test_a_lost_ledger_is_told_without_its_noted_end(registry, ledger):
    ledger.unlink()
    ledger_end.forget(ledger)
    with raises(LedgerError, "ledger-lost") as caught:
        registry.reconcile()
    assert "restore the newest backup" in str(caught.value)
