"""What data validation found, for people."""

from __future__ import annotations

from dataclasses import dataclass

SHOWN = 3  # rows in a sentence


@dataclass(frozen=True)
class Finding:
    """How one rule fared: `failed` rows in all, and the names of the first of them."""

    title: str
    severity: str
    success: bool
    failed: int
    rows: tuple[str, ...]
    remedy: str


def sentence(finding: Finding) -> str:
    """A failure in two lines: what is not so, for which rows, and what to do."""
    rows = "; ".join(finding.rows[:SHOWN]) + ("; ..." if finding.failed > SHOWN else "")
    return f"  not so: {finding.title[0].lower()}{finding.title[1:]} ({finding.failed}: {rows})\n    {finding.remedy}"
