"""Findings of data validation, and their text form."""

from __future__ import annotations

from dataclasses import dataclass

MAX_ROWS_SHOWN = 3


@dataclass(frozen=True)
class Finding:
    """The outcome of one rule: the number of failed rows and the names of the first few."""

    title: str
    severity: str
    success: bool
    failed: int
    rows: tuple[str, ...]
    remedy: str


def sentence(finding: Finding) -> str:
    """Formats a failure in two lines: the rule with the number and names of failed rows, and the remedy."""
    rows = "; ".join(finding.rows[:MAX_ROWS_SHOWN]) + ("; ..." if finding.failed > MAX_ROWS_SHOWN else "")
    return f"  failed: {finding.title[0].lower()}{finding.title[1:]} ({finding.failed}: {rows})\n    {finding.remedy}"
