"""The data validation report as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tasks.data.findings import Finding
from tasks.reports.page import PageSection, page


def findings_page(findings: Sequence[Finding], pictures: Mapping[str, Path] | None = None) -> str:
    """Returns the findings as an HTML page, failures first. `pictures` are PNG files by the title of their finding."""
    sections = [
        PageSection(
            heading=finding.title,
            text="holds"
            if finding.success
            else f"{finding.severity}: {finding.failed} failed. Remedy: {finding.remedy}.",
            status="good" if finding.success else "bad" if finding.severity == "critical" else "mild",
            columns=["rows"],
            rows=[[row] for row in finding.rows],
            picture=None if finding.success else (pictures or {}).get(finding.title),
        )
        for finding in sorted(findings, key=lambda finding: finding.success)
    ]
    return page("Data validation", sections)
