"""The reasons why a version may not go live, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.registry.aliases import LIVE
from flows.registry.ledger import Ledger
from flows.registry.ledger_lines import BROUGHT_IN, Event
from flows.registry.records import trusted_record
from flows.registry.version_files import digest_of_version
from flows.registry.version_record import APPROVED, REGISTERED, VersionRecord, is_same_live, name_of
from tasks.core.errors import RootstockError
from tasks.gate.checks import Verdict

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


def objection(version: ModelVersion, ledger: Ledger, *, person_decides: bool) -> str:
    """Returns the reason why this version may not replace the live one; empty if it may.

    A record that another machine has signed becomes a line of the ledger.
    """
    try:
        record = trusted_record(version, ledger)
        return _objection_to(record, version, ledger, person_decides=person_decides)
    except RootstockError as error:  # what is recorded cannot be trusted, or the files cannot be read
        return str(error)


def adoption_objection(version: ModelVersion, ledger: Ledger, *, person_decides: bool) -> str:
    """Returns the reason why a version that is live already may not stay so in a new ledger; empty if it may."""
    try:
        record = trusted_record(version, ledger)
        if record is None:
            return "nothing that this machine trusts records its verdict"
        _bring_in(record, ledger)
        return unproved(record) or refusal(record, person_decides=person_decides) or _changed(version, record)
    except RootstockError as error:
        return str(error)


def _changed(version: ModelVersion, record: VersionRecord) -> str:
    if digest_of_version(version) == record.files:
        return ""
    return "its files are not those that were judged: delete the version in MLflow, and make run registers it again"


def _bring_in(record: VersionRecord, ledger: Ledger) -> None:
    """Makes a record of the version's run a line of the ledger, so that no earlier one can return."""
    if record != ledger.record_of(record.number, record.made):
        ledger.state(Event.REGISTERED if record.verdict == REGISTERED else Event.JUDGED, record, BROUGHT_IN)


def _objection_to(record: VersionRecord | None, version: ModelVersion, ledger: Ledger, *, person_decides: bool) -> str:
    number = str(version.version)
    if record is None:
        return _unrecorded(number, ledger)
    is_of_another_time = ledger.moved_since(record)
    _bring_in(record, ledger)
    if record.verdict == APPROVED and is_of_another_time:
        return f"its approval was for one release, and {LIVE} has moved since; again: {approve_command(number)}"
    return (
        _verdict_objection(record, ledger, is_of_another_time=is_of_another_time)
        or _with_command(refusal(record, person_decides=person_decides), number)
        or _changed(version, record)
    )


def _with_command(reason: str, number: str) -> str:
    return f"{reason}; to let it go live all the same: {approve_command(number)}" if reason else ""


def _verdict_objection(record: VersionRecord, ledger: Ledger, *, is_of_another_time: bool) -> str:
    """Returns the objection to a verdict that says nothing about the version that is live now."""
    if reason := unproved(record):
        return reason
    if record.against is None and is_of_another_time:
        return "its verdict was made before any version was live: make run judges the newest version again"
    if not is_same_live(record.against, ledger.live):
        return (
            f"its verdict was made against {name_of(record.against)}, but {name_of(ledger.live)} is live now: make run "
            "judges the newest version again; to return to an older one, use make rollback"
        )
    return ""


def unproved(record: VersionRecord) -> str:
    """Returns the objection to a version that did not reproduce its evaluation; empty if it did or was approved."""
    return (
        ""
        if record.proved or record.verdict == APPROVED
        else "it did not reproduce its evaluated predictions at registration"
    )


def refusal(record: VersionRecord, *, person_decides: bool) -> str:
    """Returns the objection to a version because of its verdict; empty if the verdict lets it go live."""
    if record.verdict == REGISTERED:
        return "it was not judged yet: make run judges the newest version"
    is_left_to_person = record.verdict == Verdict.UNDECIDED and person_decides
    if record.verdict in {APPROVED, Verdict.PASS} or is_left_to_person:
        return ""
    hint = "; set gate.person_decides to let a person decide" if record.verdict == Verdict.UNDECIDED else ""
    return f"the verdict is {record.verdict}: {record.why}{hint}"


def approve_command(number: str) -> str:
    """Returns the command by which a person lets a version go live whatever its verdict is."""
    return f"make approve ARGS='--version {number} --why \"...\"'"


def _unrecorded(number: str, ledger: Ledger) -> str:
    """Returns the objection to a version without a record: tags alone prove nothing."""
    if any(entry["version"] == number and entry.get("record") for entry in ledger.entries):
        return f"version {number} was deleted and made again, or its model was: only the deleted one was judged"
    return (
        "nothing that this machine trusts records its verdict, and anyone can set tags: make run judges the newest "
        f"version; to decide yourself: {approve_command(number)}"
    )
