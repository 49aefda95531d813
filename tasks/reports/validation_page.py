"""What data validation found, as a page."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.data.findings import Finding
from tasks.reports.page import PageSection, page


def findings_page(findings: Sequence[Finding]) -> str:
    """The report as a page, failures first."""
    parts = [
        PageSection(
            heading=finding.title,
            text="holds"
            if finding.success
            else f"{finding.severity}: not so for {finding.failed}. To do: {finding.remedy}.",
            status="good" if finding.success else "bad" if finding.severity == "critical" else "mild",
            columns=["rows"],
            rows=[[row] for row in finding.rows],
        )
        for finding in sorted(findings, key=lambda finding: finding.success)
    ]
    return page("Data validation", parts)
