"""What a machine states about a version: its files, its verdict, and the live version it was compared with.

Release believes these records only. The tags of a version say the same for people, and anyone can set them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flows.registry import signing
from tasks.core.errors import RootstockError
from tasks.gate.checks import Verdict

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

Identity = tuple[str, str, int]
REGISTERED, APPROVED = "registered", "approved"


class _Form(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class LiveVersion(_Form):
    """A live version: its number, creation time in ms since 1970, and digest of all files; None: not recorded.

    The time tells versions with one number apart: after a model is deleted, MLflow numbers its versions from 1 again.
    """

    number: str
    made: int | None = None
    files: str | None = None

    @classmethod
    def of(cls, version: ModelVersion, files: str | None = None) -> LiveVersion:
        """Returns the entry for a registered version."""
        return cls(number=str(version.version), made=int(version.creation_timestamp), files=files)

    def is_same(self, other: LiveVersion | None) -> bool:
        """Returns whether another one is this version, as far as both are recorded."""
        return (
            other is not None
            and self.number == other.number
            and (None in {self.made, other.made} or self.made == other.made)
            and (None in {self.files, other.files} or self.files == other.files)
        )


def is_same_live(one: LiveVersion | None, other: LiveVersion | None) -> bool:
    """Returns whether both are one version, or both are none."""
    return other is None if one is None else one.is_same(other)


def name_of(live: LiveVersion | None) -> str:
    """Returns the live version for a sentence."""
    return f"version {live.number}" if live else "no version"


class VersionRecord(_Form):
    """A statement about a version; the one with the highest `sequence` counts."""

    model: str
    number: str
    made: int  # creation time in MLflow, ms since 1970
    files: str  # digest of all files of the version
    key: str  # digest of the results and the code that it was made from; empty for other versions
    proved: bool  # whether it reproduced its evaluated predictions
    verdict: str = Field(pattern=f"^({'|'.join((REGISTERED, *Verdict, APPROVED))})$")
    why: str
    against: LiveVersion | None  # the version that was live
    gate: str  # digest of the gate's parameters
    test: str  # digest of the test images
    commit: str
    sequence: int
    at: str

    @property
    def identity(self) -> Identity:
        """Returns what no other version has."""
        return self.model, self.number, self.made

    def text(self) -> str:
        """Returns the text to sign."""
        return json.dumps(self.model_dump(), sort_keys=True, ensure_ascii=False)

    def says_the_same(self, other: VersionRecord | None) -> bool:
        """Returns whether another record differs from this one only in place and time."""
        neutral = {"sequence": 0, "at": "", "commit": ""}
        return other is not None and self.model_copy(update=neutral) == other.model_copy(update=neutral)


class SignedRecord(_Form):
    """A record, the public key of the machine that made it, and its signature."""

    record: VersionRecord
    key: str
    signature: str

    @classmethod
    def of(cls, record: VersionRecord) -> SignedRecord:
        """Signs a record with this machine's key."""
        return cls(record=record, key=signing.public_key(), signature=signing.sign(record.text()))

    @classmethod
    def parsed(cls, text: str) -> SignedRecord:
        """Returns the record in a JSON text. Raises RootstockError if it is none or if its signature is wrong."""
        try:
            signed = cls.model_validate_json(text)
        except (ValidationError, UnicodeEncodeError):
            raise RootstockError("the record of its verdict is damaged", key="record-damaged") from None
        if not signing.is_signed(signed.record.text(), signed.key, signed.signature):
            raise RootstockError("the record of its verdict was changed after it was signed", key="record-changed")
        return signed


def identity_of(version: ModelVersion) -> Identity:
    """Returns what no other version has: the model, the number, and the creation time in ms since 1970."""
    return str(version.name), str(version.version), int(version.creation_timestamp)


def as_record(value: Any) -> VersionRecord:  # noqa: ANN401 - any JSON value
    """Returns the record in a parsed JSON value. Raises ValueError if it is none."""
    return VersionRecord.model_validate(value)
