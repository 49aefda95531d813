"""What a version needs to go live: a record that cannot be made with tags, files and numbers alone."""

from __future__ import annotations

import time

import pytest

from flows.registry import objections, published, signing
from flows.registry.aliases import CHAMPION, LIVE, PRODUCTION
from flows.registry.approval import approve
from flows.registry.ledger import Ledger
from flows.registry.ledger_lines import Event, record_in
from flows.registry.promotion import roll_back
from flows.registry.records import Statement, state, trusted_record
from flows.registry.store import client
from flows.registry.tags import Tag
from flows.registry.verdict import NONE
from flows.registry.version_record import SignedRecord
from tasks.core.errors import RootstockError
from tests.errors import raises

PASSED = {Tag.VERDICT: "pass", Tag.VERDICT_AGAINST: NONE, Tag.PROOF: "passed"}


def name_of(version) -> str:
    return f"{published._prefix(version)}{signing.public_key()[:16]}.json"


def text_of(version) -> str:
    (text,) = published._texts(version)
    return text


def why_refused(registry, version) -> str:
    registry.request(version)
    (entry,) = registry.reconcile()
    assert entry["event"] == Event.REFUSED, entry
    assert registry.at(LIVE) != version
    return entry["why"]


def test_tags_release_nothing(registry):
    version = registry.unrecorded(**PASSED)
    assert "anyone can set tags" in why_refused(registry, str(version.version))


def test_tags_copied_from_a_good_version_release_nothing(registry):
    registry.version()
    good = client().get_model_version(registry.name, "1").tags | {Tag.FILES: "a digest", Tag.KEY: "a key"}
    assert "anyone can set tags" in why_refused(registry, str(registry.unrecorded(**good, **PASSED).version))


def test_a_record_copied_to_the_run_of_another_version_is_told(registry):
    good = client().get_model_version(registry.name, registry.version())
    other = registry.unrecorded()
    client().log_text(other.run_id, text_of(good), name_of(other))
    assert "its record is of version 1" in why_refused(registry, str(other.version))


def test_a_changed_record_is_told(registry):
    version = registry.unrecorded()
    signed = SignedRecord.of(record_of(registry, registry.version("refused")))
    changed = signed.model_copy(update={"record": signed.record.model_copy(update={"verdict": "pass"})})
    client().log_text(version.run_id, changed.model_dump_json(), name_of(version))
    assert "changed after it was signed" in why_refused(registry, str(version.version))


@pytest.mark.parametrize("text", ["", "3", "{}", '{"record": {}, "key": "", "signature": ""}', "[" * 10_000, "\x00"])
def test_a_record_that_is_none_is_told(registry, text):
    version = registry.unrecorded()
    client().log_text(version.run_id, text, name_of(version))
    assert "is damaged" in why_refused(registry, str(version.version))


def record_of(registry, number):
    made = client().get_model_version(registry.name, number).creation_timestamp
    return Ledger(registry.ledger).record_of(number, int(made))


def test_an_old_verdict_is_not_replayed(registry):
    version = client().get_model_version(registry.name, registry.version("pass"))
    before = text_of(version)
    state(version, Statement(Event.JUDGED, "refused", "a new test set", proved=True), registry.ledger)
    client().log_text(version.run_id, before, name_of(version))
    assert "a new test set" in why_refused(registry, "1")


def test_a_version_that_was_deleted_and_made_again_is_told(registry):
    registry.version()
    client().delete_registered_model(registry.name)
    client().create_registered_model(registry.name)
    assert str(registry.unrecorded(**PASSED).version) == "1"
    assert "deleted and made again" in why_refused(registry, "1")


def test_files_that_were_changed_after_the_verdict_are_told(registry):
    version = registry.version()
    (file,) = registry.folder.rglob("weights")
    file.write_text("other weights")
    assert "not those that were judged" in why_refused(registry, version)


def test_what_mlflow_writes_when_it_loads_a_version_changes_no_digest(registry):
    version = registry.version()
    (folder,) = (path for path in registry.folder.glob("weights*") if path.is_dir())
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "model_code.cpython-311.pyc").touch()
    (folder / "registered_model_meta").touch()
    registry.request(version)
    assert [entry["event"] for entry in registry.reconcile()] == [Event.RELEASED]


def test_a_file_that_was_added_after_the_verdict_is_told(registry):
    version = registry.version()
    (folder,) = (path for path in registry.folder.glob("weights*") if path.is_dir())
    (folder / "model_code.py").write_text("print('run')")
    assert "not those that were judged" in why_refused(registry, version)


def test_a_verdict_against_another_version_with_the_live_ones_number_is_told(registry):
    first = registry.version()
    registry.request(first)
    registry.reconcile()
    live = registry.as_live(first).model_copy(update={"made": 7})
    version = registry.unrecorded()
    state(version, Statement(Event.JUDGED, "pass", "because", live, proved=True), registry.ledger)
    assert "its verdict was made against version 1" in why_refused(registry, str(version.version))


def test_a_promote_copy_of_unknown_origin_is_told(registry):
    client().create_registered_model(f"{registry.name}{PRODUCTION}")
    client().create_model_version(f"{registry.name}{PRODUCTION}", str(registry.folder), tags=PASSED)
    (entry,) = registry.reconcile()
    assert entry["event"] == Event.REFUSED
    assert "no such version" in entry["why"]


def test_a_live_version_without_a_record_is_not_adopted(registry):
    version = registry.unrecorded(**PASSED)
    client().set_registered_model_alias(registry.name, LIVE, version.version)
    with raises(RootstockError, "live-unrecorded") as caught:
        registry.reconcile()
    assert "make approve" in str(caught.value)
    assert Ledger(registry.ledger).entries == []
    events = [
        entry["event"]
        for entry in approve(registry.name, str(version.version), "it is mine", ledger_file=registry.ledger)
    ]
    assert events[0] == Event.APPROVED
    assert registry.reconcile() == []
    assert registry.at(LIVE) == str(version.version)


@pytest.mark.parametrize(("verdict", "proof"), [("refused", "passed"), ("undecided", "passed"), ("pass", "failed")])
def test_a_person_lets_a_version_go_live_with_a_reason(registry, verdict, proof):
    registry.request(registry.version())
    registry.reconcile()
    version = registry.version(verdict, "1", proof)
    assert why_refused(registry, version)
    entries = approve(registry.name, version, "the test set\nis wrong", ledger_file=registry.ledger)
    assert [entry["event"] for entry in entries] == [Event.APPROVED, Event.RELEASED]
    assert "the test set is wrong (" in entries[0]["why"]
    assert registry.at(LIVE) == registry.at(CHAMPION) == version
    assert roll_back(registry.name, registry.ledger)["live"] == "1"
    assert "was for one release" in why_refused(registry, version)
    again = approve(registry.name, version, "the test set\nis wrong", ledger_file=registry.ledger)
    assert [entry["event"] for entry in again] == [Event.APPROVED, Event.RELEASED]


def test_a_version_that_is_not_there_is_not_approved(registry):
    with raises(RootstockError, "version-not-found"):
        approve(registry.name, "3", "because", ledger_file=registry.ledger)


def test_the_same_statement_is_recorded_once(registry):
    version = client().get_model_version(registry.name, registry.version())
    for _ in range(2):
        state(version, Statement(Event.JUDGED, "pass", "because", proved=True), registry.ledger)
    assert len(Ledger(registry.ledger).entries) == 1
    assert record_in(Ledger(registry.ledger).entries[0]).sequence == 1


@pytest.fixture
def elsewhere(registry, monkeypatch, tmp_path):
    """Returns a version that another machine judged, and that machine's key. The ledger is this machine's."""
    registry.request(registry.version())
    registry.reconcile()
    version = registry.unrecorded()
    monkeypatch.setenv(signing.FOLDER_VARIABLE, str(tmp_path / "elsewhere"))
    statement = Statement(Event.JUDGED, "pass", "because", registry.as_live("1"), proved=True)
    state(version, statement, tmp_path / "ledger-elsewhere.jsonl")
    key = signing.public_key()
    monkeypatch.undo()
    return version, key


def test_a_record_of_another_machine_counts_if_its_key_is_in_the_committed_list(registry, elsewhere, monkeypatch):
    version, key = elsewhere
    number = str(version.version)
    assert f"signed by the key {key}" in why_refused(registry, number)
    folder = registry.folder / "checkout"
    (folder / "deploy").mkdir(parents=True)
    (folder / signing.TRUSTED).write_text(f"# machines\n\n{key}  the GPU box\n")
    monkeypatch.setattr(signing, "MAIN_CHECKOUT", folder)
    registry.request(number)
    assert [entry["event"] for entry in registry.reconcile()] == [Event.RELEASED]
    assert registry.at(LIVE) == number
    (judged,) = (entry for entry in Ledger(registry.ledger).entries if entry["version"] == number and entry["record"])
    assert judged["event"] == Event.JUDGED, "the record is a line, so that no earlier one returns"


def test_two_machines_count_on_from_each_others_records(registry, elsewhere, monkeypatch):
    version, _ = elsewhere
    monkeypatch.setattr(signing, "is_trusted", lambda _key: True)
    state(version, Statement(Event.JUDGED, "refused", "here", registry.as_live("1"), proved=True), registry.ledger)
    assert trusted_record(version, None).sequence == 2
    assert "here" in why_refused(registry, str(version.version))


def test_a_machine_without_a_home_takes_its_key_from_the_environment(monkeypatch):
    monkeypatch.setenv(signing.VARIABLE, "A" * 43 + "=")
    assert signing.is_signed("text", signing.public_key(), signing.sign("text"))
    assert not signing.is_signed("another text", signing.public_key(), signing.sign("text"))
    monkeypatch.setenv(signing.VARIABLE, "secret")
    with raises(RootstockError, "signing-key") as caught:
        signing.sign("text")
    assert "secret" not in str(caught.value)


def test_a_key_that_others_can_read_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv(signing.FOLDER_VARIABLE, str(tmp_path))
    signing.public_key()
    key = tmp_path / "signing-key"
    assert key.stat().st_mode & 0o777 == 0o600
    key.chmod(0o640)
    with raises(RootstockError, "signing-key"):
        signing.public_key()


def test_a_verdict_is_recorded_here_whoever_seems_to_own_the_model(registry):
    """Somebody hides a worse verdict: for its time, another ledger seems to own the model."""
    registry.request(registry.version())
    registry.reconcile()
    version = client().get_model_version(registry.name, registry.version("pass", "1"))
    before, owner = text_of(version), client().get_registered_model(registry.name).tags[Tag.LEDGER]
    client().set_registered_model_tag(registry.name, Tag.LEDGER, "x nowhere:/x")
    registry.judge(str(version.version), "1", "refused")
    client().set_registered_model_tag(registry.name, Tag.LEDGER, owner)
    client().log_text(version.run_id, before, name_of(version))
    assert "refused" in why_refused(registry, str(version.version))


def test_a_record_that_was_lost_from_its_run_is_published_again(registry):
    version = client().get_model_version(registry.name, registry.version())
    client().log_text(version.run_id, "lost", name_of(version))
    registry.judge(str(version.version), NONE)
    assert SignedRecord.parsed(text_of(version)).record.verdict == "pass"
    assert len(Ledger(registry.ledger).entries) == 1


def test_a_machine_that_is_not_trusted_replaces_no_record(registry, elsewhere, monkeypatch, tmp_path):
    version, key = elsewhere
    monkeypatch.setattr(signing, "_committed", lambda: {key})
    with monkeypatch.context() as stranger:
        stranger.setenv(signing.FOLDER_VARIABLE, str(tmp_path / "stranger"))
        state(version, Statement(Event.JUDGED, "refused", "by a stranger", proved=True), tmp_path / "stranger.jsonl")
    registry.request(str(version.version))
    assert [entry["event"] for entry in registry.reconcile()] == [Event.RELEASED]


def test_a_folder_in_the_place_of_a_record_is_none(registry):
    version = registry.unrecorded()
    client().log_text(version.run_id, "text", f"{name_of(version)}/file")
    assert "anyone can set tags" in why_refused(registry, str(version.version))


def test_records_of_two_machines_that_differ_are_told(registry, elsewhere, monkeypatch):
    version, key = elsewhere
    monkeypatch.setattr(signing, "_committed", lambda: {key})
    number, made = str(version.version), int(version.creation_timestamp)
    theirs = trusted_record(version, None)
    Ledger(registry.ledger).state(Event.JUDGED, theirs.model_copy(update={"verdict": "refused"}))
    assert Ledger(registry.ledger).record_of(number, made).sequence == theirs.sequence
    assert "recorded different things" in why_refused(registry, number)


def test_what_is_checked_needs_no_key(monkeypatch, tmp_path):
    monkeypatch.setenv(signing.FOLDER_VARIABLE, str(tmp_path / "config"))
    assert not signing.is_trusted("a key")
    assert not (tmp_path / "config").exists()


def test_an_approval_that_cannot_be_followed_is_an_error(registry, monkeypatch):
    version = registry.version("refused")
    monkeypatch.setattr(objections, "digest_of_version", lambda _version: "files that changed meanwhile")
    with raises(RootstockError, "not-released"):
        approve(registry.name, version, "because", ledger_file=registry.ledger)
    assert registry.at(LIVE) is None


def test_others_requests_wait_for_the_release(registry):
    version, other = registry.version("refused"), registry.version()
    registry.copy(other)
    entries = approve(registry.name, version, "because", ledger_file=registry.ledger)
    assert [entry["version"] for entry in entries] == [version, version]


def test_another_machines_verdict_from_before_live_moved_stays_refused(registry, monkeypatch, tmp_path):
    """At the first request, its record becomes a line of this ledger, which is younger than the verdict."""
    first, second = registry.version(), str(registry.unrecorded().version)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(registry, "ledger", tmp_path / "elsewhere.jsonl")
        registry.judge(second, NONE)
    time.sleep(1.1)
    registry.request(first)
    registry.reconcile()
    client().delete_model_version(registry.name, first)
    for _ in range(2):
        registry.request(second)
        assert [entry["event"] for entry in registry.reconcile()][-1] == Event.REFUSED
    time.sleep(1.1)
    third = str(registry.unrecorded().version)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(registry, "ledger", tmp_path / "elsewhere.jsonl")
        registry.judge(third, NONE)
    registry.request(third)
    assert [entry["event"] for entry in registry.reconcile()] == [Event.RELEASED]
