"""The verdict on a version: floors, and the comparison with the live model on the same test images.

It is computed on every run, never in a cached stage, since the live model may change.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from flows.config.parameters import GateSection
from flows.registry.aliases import LIVE
from flows.registry.answer_cache import answers
from flows.registry.kinds import EVALUATED_ANSWERS
from flows.registry.ledger_lines import Event
from flows.registry.records import Statement, files_of, state
from flows.registry.store import client
from flows.registry.tags import MAX_TAG_LENGTH, Tag
from flows.registry.version_files import UNREADABLE
from flows.registry.version_record import LiveVersion
from flows.registry.versions import find, has_run
from tasks.core.errors import EXIT_REFUSED, EXIT_UNDECIDED, RootstockError
from tasks.core.files import read_json
from tasks.core.paths import Paths
from tasks.core.schema import VALUE, Candidate, Column
from tasks.core.target import TargetSpec
from tasks.data.manifest import read_manifest
from tasks.gate.checks import Check, Verdict, floors, overall
from tasks.reports.page import markdown_table

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities.model_registry import ModelVersion

NONE = "none"  # the value of `against` if there is no live version
EXIT_CODES = {Verdict.PASS: 0, Verdict.REFUSED: EXIT_REFUSED, Verdict.UNDECIDED: EXIT_UNDECIDED}
COLUMNS = ("check", "found", "wanted", "verdict")
FOLDER, FILE = "verdict", "verdict.json"  # in the artifacts of the version's run


class CheckRecord(TypedDict):
    """A check in verdict.json."""

    what: str
    found: str
    wanted: str
    verdict: str


class VerdictRecord(TypedDict):
    """The contents of verdict.json."""

    version: int
    verdict: str
    against: str
    checks: list[CheckRecord]


@dataclass(frozen=True)
class Judgement:
    """A verdict, the number of the live version that it compares against (or none), and its checks."""

    verdict: Verdict
    against: str
    checks: tuple[Check, ...]

    def why(self) -> str:
        """Describes the checks that did not pass, or the last check if all passed, and any notes."""
        notes = [check for check in self.checks if check.verdict is Verdict.NOTE]
        passed = [check for check in self.checks if check.verdict is Verdict.PASS]
        decisive = [check for check in self.checks if check not in (*passed, *notes)] or passed[-1:]
        texts = (f"{check.what}: {check.found} (required: {check.wanted})" for check in (*decisive, *notes))
        return "; ".join(texts)

    def markdown(self) -> str:
        """Returns the checks as a Markdown table."""
        rows = [[check.what, check.found, check.wanted, check.verdict] for check in self.checks]
        return markdown_table(COLUMNS, rows)


def judge(
    version: ModelVersion, section: GateSection, slices: Sequence[str], paths: Paths, ledger_file: Path | None = None
) -> Judgement:
    """Judges the version for the current results, and writes the verdict to its record, its tags and its run."""
    live = find(version.name, LIVE)
    live_files = files_of(live) if live else None
    scores = {metric: score[VALUE] for metric, score in read_json(paths.metrics)[Candidate.TUNED].items()}
    checks = floors(section.floors, scores)
    if live is None:
        checks.append(Check("against live", "no version is live yet", "only the floors", Verdict.PASS))
    elif int(live.version) == int(version.version):
        checks.append(Check("against live", f"version {live.version} is live itself", "no loss", Verdict.PASS))
    else:
        checks += against(live, live_files, paths, section, slices)
    judgement = Judgement(overall(checks), str(live.version) if live else NONE, tuple(checks))
    statement = Statement(
        Event.JUDGED,
        judgement.verdict.value,
        judgement.why(),
        LiveVersion.of(live, live_files) if live else None,
        gate=_digest(section.model_dump(mode="json")),
        test=_digest(test_images(paths)),
    )
    state(version, statement, ledger_file)
    write_verdict(version, judgement)
    return judgement


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def test_images(paths: Paths) -> list[str]:
    """Returns the hashes of the pixels of the test images, in alphabetical order."""
    import pandas as pd

    hashes = read_manifest(paths.manifest, [Column.PATH, Column.PIXEL_HASH]).set_index(Column.PATH)
    tested = pd.read_parquet(paths.predictions, columns=[Column.PATH])[Column.PATH]
    return sorted(hashes.loc[tested, Column.PIXEL_HASH])


def against(
    live: ModelVersion, files: str | None, paths: Paths, section: GateSection, slices: Sequence[str]
) -> list[Check]:
    """Compares the evaluated predictions with the live version's answers for the same test images."""
    import pandas as pd

    from tasks.gate.comparison import GateCriteria
    from tasks.gate.kinds import COMPARISONS

    kind, spec = TargetSpec.load(paths.task).kind, read_json(paths.spec)
    predictions = pd.read_parquet(paths.predictions)
    manifest = read_manifest(paths.manifest).set_index(Column.PATH)
    rows = manifest.loc[predictions[Column.PATH]].reset_index()
    try:
        ours, theirs = EVALUATED_ANSWERS[kind](predictions, spec), answers(live, files, paths, rows)
    except RootstockError as error:
        if error.key != UNREADABLE:
            raise
        return [Check("against live", f"it cannot be compared: {error}", "the files of both models", Verdict.UNDECIDED)]
    if _types(ours) != _types(theirs):
        reason = "only one of: a class, several labels, or numbers per image, is what both models predict"
        return [Check("against live", reason, "two models of one kind", Verdict.UNDECIDED)]
    criteria = GateCriteria(section.metric, section.margin, section.error, section.group_margin)
    return COMPARISONS[kind](rows, ours, theirs, criteria, slices)


def _types(answers: pd.DataFrame) -> set[str]:
    """Returns the kinds of data in the columns, which differ by kind of target."""
    return {dtype.kind for dtype in answers.dtypes}


def write_verdict(version: ModelVersion, judgement: Judgement) -> None:
    """Writes the verdict to the version's tags and, as Markdown and JSON, to its run, unless it is unchanged.

    A run that was removed from MLflow is left out.
    """
    tracker, run_id = client(), str(version.run_id)
    tags = {
        Tag.VERDICT: judgement.verdict.value,
        Tag.VERDICT_AGAINST: judgement.against,
        Tag.VERDICT_WHY: judgement.why()[:MAX_TAG_LENGTH],
    }
    if all(version.tags.get(name) == value for name, value in tags.items()):
        return
    record = {"version": int(version.version), "verdict": judgement.verdict, "against": judgement.against}
    checks = [asdict(check) for check in judgement.checks]
    if has_run(run_id):
        tracker.log_dict(run_id, {**record, "checks": checks}, str(Path(FOLDER) / FILE))
        tracker.log_text(run_id, judgement.markdown(), str(Path(FOLDER) / "verdict.md"))
    for name, value in tags.items():
        tracker.set_model_version_tag(version.name, version.version, name, value)
