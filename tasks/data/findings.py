"""What data validation found, for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.reports.page import Part, page

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


def findings_page(findings: Sequence[Finding]) -> str:
    """The report as a page, failures first."""
    parts = [
        Part(
            heading=finding.title,
            text="holds"
            if finding.success
            else f"{finding.severity}: not so for {finding.failed}. To do: {finding.remedy}.",
            mood="good" if finding.success else "bad" if finding.severity == "critical" else "mild",
            columns=["rows"],
            rows=[[row] for row in finding.rows],
        )
        for finding in sorted(findings, key=lambda finding: finding.success)
    ]
    return page("Data validation", parts)
