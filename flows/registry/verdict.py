"""The verdict on a version: floors, and the comparison with the live model on the same test images.

It is made beside registration, never in a cached stage, and again on every run, since the live model may change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from flows.config.parameters import GateSection
from flows.registry.runs import Tag
from flows.registry.store import client
from flows.registry.versions import LIVE, find, scorer_of, scorer_thresholds
from tasks.core.errors import EXIT_REFUSED, EXIT_UNDECIDED
from tasks.core.files import read_json, replacing
from tasks.core.paths import Paths
from tasks.core.schema import ANSWER, VALUE, Candidate, Column
from tasks.gate import checks as gate
from tasks.gate.checks import Check, Verdict
from tasks.reports.page import markdown_table

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

NONE = "none"  # there was no live model to compare with
EXIT_CODES = {Verdict.PASS: 0, Verdict.REFUSED: EXIT_REFUSED, Verdict.UNDECIDED: EXIT_UNDECIDED}
COLUMNS = ("check", "found", "wanted", "verdict")
FOLDER, FILE = "verdict", "verdict.json"  # on the run of the version
LONGEST_TAG = 500  # characters


@dataclass(frozen=True)
class Judgement:
    """A verdict, the number of the live version that it was made against (or none), and the checks behind it."""

    verdict: Verdict
    against: str
    checks: tuple[Check, ...]

    def why(self) -> str:
        """The checks that did not pass; the last one where all did."""
        decisive = [check for check in self.checks if check.verdict is not Verdict.PASS] or list(self.checks[-1:])
        return "; ".join(f"{check.what}: {check.found} (wanted: {check.wanted})" for check in decisive)

    def markdown(self) -> str:
        """The table of checks."""
        rows = [[check.what, check.found, check.wanted, check.verdict] for check in self.checks]
        return markdown_table(COLUMNS, rows)


def judge(version: ModelVersion, wanted: GateSection, slices: Sequence[str], paths: Paths) -> Judgement:
    """Judges the version that the current results are registered as, and leaves the verdict on it."""
    live = find(version.name, LIVE)
    scores = {metric: at[VALUE] for metric, at in read_json(paths.metrics)[Candidate.TUNED].items()}
    checks = gate.floors(wanted.floors, scores)
    if live is None:
        checks.append(Check("against live", "no version is live yet", "the floors alone count", Verdict.PASS))
    elif int(live.version) == int(version.version):
        checks.append(Check("against live", f"version {live.version} is live itself", "no loss", Verdict.PASS))
    else:
        checks += against(live, paths, wanted, slices)
    found = Judgement(gate.overall(checks), str(live.version) if live else NONE, tuple(checks))
    note(version, found)
    return found


def against(live: ModelVersion, paths: Paths, wanted: GateSection, slices: Sequence[str]) -> list[Check]:
    """The evaluated predictions against what the live version answers for the same test images."""
    from tasks.gate.comparison import Terms, compare, compare_labels, compare_values

    terms = Terms(wanted.metric, wanted.margin, wanted.error, wanted.group_margin, wanted.resamples)
    predicted = pd.read_parquet(paths.predictions)
    manifest = pd.read_parquet(paths.manifest).set_index(Column.PATH)
    rows = manifest.loc[predicted[Column.PATH]].reset_index()
    spec = read_json(paths.spec)
    theirs = answers(live, paths, rows)
    if spec["targets"]:
        values = pd.DataFrame({name: predicted[f"{ANSWER}{name}"] for name in spec["targets"]})
        return compare_values(rows, values, theirs, terms, slices)
    ours = pd.DataFrame(predicted[Column.DISTRIBUTION].tolist(), columns=spec["classes"])
    several = bool(spec["label_thresholds"])
    if several != all(pd.api.types.is_bool_dtype(kind) for kind in theirs.dtypes):
        what = "one gives one class an image, the other several labels"
        return [Check("against live", what, "answers of one kind", Verdict.UNDECIDED)]
    if several:
        return compare_labels(rows, ours >= spec["label_thresholds"], theirs, terms, slices)
    return compare(rows, ours, theirs, terms, slices)


def answers(version: ModelVersion, paths: Paths, rows: pd.DataFrame) -> pd.DataFrame:
    """The version's probabilities for these images, a column a class; of several labels, whether each is given.

    Or its targets. Computed once.
    """
    pixels = hashlib.sha256("".join(rows[Column.PIXEL_HASH]).encode()).hexdigest()
    kept = paths.state / "answers" / f"{Path(str(version.source)).name}-{pixels[:16]}.parquet"
    if not kept.exists():
        scorer = scorer_of(version)
        pictures = ((paths.raw / path).read_bytes() for path in rows[Column.PATH])
        found = scorer.probabilities(pictures)
        if thresholds := scorer_thresholds(scorer):
            found = found >= found.new_tensor(thresholds)
        table = pd.DataFrame(found.numpy(), columns=list(scorer.classes or scorer.targets))
        with replacing(kept) as beside:
            table.to_parquet(beside, index=False)
    return pd.read_parquet(kept)


def note(version: ModelVersion, found: Judgement) -> None:
    """Puts the verdict on the version: as tags, and as a table and JSON on its run. Unchanged, it stays as it is."""
    tracker, run_id = client(), str(version.run_id)
    tags = {
        Tag.VERDICT: found.verdict.value,
        Tag.VERDICT_AGAINST: found.against,
        Tag.VERDICT_WHY: found.why()[:LONGEST_TAG],
    }
    if all(version.tags.get(name) == value for name, value in tags.items()):
        return
    written = {"version": int(version.version), "verdict": found.verdict, "against": found.against}
    checks = [asdict(check) for check in found.checks]
    tracker.log_dict(run_id, {**written, "checks": checks}, str(Path(FOLDER) / FILE))
    tracker.log_text(run_id, found.markdown(), str(Path(FOLDER) / "verdict.md"))
    for name, value in tags.items():
        tracker.set_model_version_tag(version.name, version.version, name, value)
