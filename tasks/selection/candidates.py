"""Candidates: pretrained weights among which a backbone is chosen. The flows bring them in, with candidates.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tasks.core.files import read_json, write_json

LIST = "candidates.json"


@dataclass(frozen=True)
class BackboneCandidate:
    """A weights file in the candidates' folder: its architecture, SHA-256, and license as far as it is stated."""

    architecture: str
    file: str
    sha256: str
    license: str


def write_candidates(folder: Path, candidates: Sequence[BackboneCandidate]) -> None:
    """Writes candidates.json beside the weights files."""
    write_json(folder / LIST, [asdict(candidate) for candidate in candidates])


def read_candidates(folder: Path) -> list[BackboneCandidate]:
    """Reads candidates.json."""
    return [BackboneCandidate(**fields) for fields in read_json(folder / LIST)]
