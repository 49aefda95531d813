"""Validate: the manifest against what is expected of it; a failed critical expectation stops the run."""

from __future__ import annotations

from pydantic import Field

from tasks.core.errors import DataRefusedError
from tasks.core.params import Section, StageParams
from tasks.core.paths import Paths


class ValidateSection(Section):
    """Limits of the data suite."""

    min_side: int = Field(ge=1, description="pixels of the shorter side")
    max_unreadable: float = Field(ge=0, lt=1, description="fraction of the files that may be broken; they are left out")


class ValidateParams(StageParams):
    """What validate reads of params.yaml."""

    validate_: ValidateSection = Field(alias="validate")


class ValidateReport(Section):
    """How many expectations were checked, and how many warnings were left."""

    expectations: int
    warnings: int


def validate(paths: Paths, params: ValidateParams) -> ValidateReport:
    """Writes validation.json and a report page. Raises DataRefusedError naming rows if a critical rule fails."""
    from dataclasses import asdict

    import great_expectations  # noqa: F401 - so that its import does not count as the stage's own seconds
    import pandas as pd

    from tasks.core.files import write_json, write_text
    from tasks.core.progress import say
    from tasks.data.expectations import CRITICAL, check, rules
    from tasks.data.findings import sentence
    from tasks.data.manifest import label_names, target_names
    from tasks.reports.validation_page import findings_page

    manifest = pd.read_parquet(paths.manifest)
    suite = rules(
        params.validate_.min_side, params.validate_.max_unreadable, target_names(manifest), label_names(manifest)
    )
    findings = check(manifest, suite)
    write_json(paths.validation, [asdict(finding) for finding in findings])
    write_text(paths.validation_page, findings_page(findings))
    failures = [finding for finding in findings if not finding.success]
    critical = [finding for finding in failures if finding.severity == CRITICAL]
    if critical:
        raise DataRefusedError("\n".join(["the data was refused:", *(sentence(finding) for finding in critical)]))
    for finding in failures:
        say("warning: " + sentence(finding))
    say(f"{len(findings)} expectations, {len(failures)} warnings")
    return ValidateReport(expectations=len(findings), warnings=len(failures))
