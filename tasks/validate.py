"""Validate: checks the manifest against the suite of expectations. A failed critical rule stops the run."""

from __future__ import annotations

from pydantic import Field

from tasks.core.errors import DataRefusedError
from tasks.core.params import Section, StageParams
from tasks.core.paths import Paths


class ValidateSection(Section):
    """The limits used by the suite."""

    min_side: int = Field(ge=1, description="pixels of the shorter side")
    max_unreadable: float = Field(ge=0, lt=1, description="tolerated fraction of broken files, which are left out")


class ValidateParams(StageParams):
    """The parameters that validate reads."""

    validate_: ValidateSection = Field(alias="validate")


class ValidateReport(Section):
    """The numbers of checked expectations and of warnings."""

    expectations: int
    warnings: int


def validate(paths: Paths, params: ValidateParams) -> ValidateReport:
    """Writes validation.json and a report page. Raises DataRefusedError naming the rows if a critical rule fails."""
    from dataclasses import asdict

    import great_expectations  # noqa: F401 - imported before the stage's time is measured

    from tasks.core.files import read_json, write_json, write_text
    from tasks.core.progress import say, warn
    from tasks.data.checked_tables import checked
    from tasks.data.expectations import check
    from tasks.data.findings import sentence
    from tasks.data.manifest import column_names, label_names, read_manifest, target_names
    from tasks.data.split_record import SplitRecord
    from tasks.data.suite import CRITICAL, NO_NEAR_DUPLICATES, rules
    from tasks.reports.validation_page import findings_page

    manifest = read_manifest(paths.manifest, checked(column_names(paths.manifest)))
    record = SplitRecord.model_validate(read_json(paths.split_record))
    limits = params.validate_
    names = target_names(manifest), label_names(manifest)
    suite = rules(limits.min_side, limits.max_unreadable, *names, ours=record.ours)
    findings = check(manifest, suite, record.near_duplicates)
    write_json(paths.validation, [asdict(finding) for finding in findings])
    write_text(paths.validation_page, findings_page(findings, {NO_NEAR_DUPLICATES: paths.near_duplicates}))
    failures = [finding for finding in findings if not finding.success]
    critical = [finding for finding in failures if finding.severity == CRITICAL]
    if critical:
        raise DataRefusedError("\n".join(["the data was refused:", *map(sentence, critical)]), key="validation-failed")
    for finding in failures:
        warn(sentence(finding))
    say(f"{len(findings)} expectations, {len(failures)} warnings")
    return ValidateReport(expectations=len(findings), warnings=len(failures))
