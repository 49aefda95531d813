"""The model card of a version, from its run in MLflow.

After Mitchell et al., "Model Cards for Model Reporting" (2019).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from flows.registry.kinds import ANSWER_TEXTS
from flows.registry.store import client
from flows.registry.tags import Tag
from flows.registry.verdict import COLUMNS, FILE, FOLDER, NONE, VerdictRecord
from flows.registry.versions import has_run
from tasks.core.schema import HIGH, LOW, Candidate, Metric
from tasks.core.target import TargetKind
from tasks.metrics.headline import headline_of
from tasks.reports.page import PageSection, markdown, page

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

CARD = "card"  # folder in the artifacts of the version's run
MAX_LENGTH = 5000  # maximum length, in characters, of a description in any database that MLflow supports
INPUT_TEXT = "Input: an encoded image, as bytes or base64. An image that cannot be read gets an error in its row."
FIXED_RECIPE = ("finetune.blocks", "finetune.epochs")  # parameters that a search replaces
SHOWN_PARAMS = (
    "data.source",
    "data.targets",
    "data.labels",
    "data.separator",
    "backbone.architecture",
    "backbone.weights",
    "head.kind",
    *FIXED_RECIPE,
    "balance",
    "objective",
    "teacher.weights",
    "seed",
)


def write_card(version: ModelVersion, kind: TargetKind) -> str:
    """Writes the card to the version's description and, as Markdown and HTML, to its run. Returns the Markdown.

    Without its run, which a person may have deleted, the version keeps its description.
    """
    tracker = client()
    run_id = str(version.run_id)
    if not has_run(run_id):  # the description stays as it is
        return str(version.description or "")
    sections = card(kind, tracker.get_run(run_id), _verdict(run_id))
    text = markdown(sections)
    if version.description == text[:MAX_LENGTH]:
        return text
    title = f"{version.name} version {version.version}"
    tracker.log_text(run_id, f"# {title}\n\n{text}", str(Path(CARD) / "card.md"))
    tracker.log_text(run_id, page(title, sections), str(Path(CARD) / "card.html"))
    tracker.update_model_version(version.name, version.version, text[:MAX_LENGTH])
    return text


def card(kind: TargetKind, run: Run, verdict: VerdictRecord | None) -> list[PageSection]:
    """Returns the sections of the card: verdict, description, metrics, other candidates and lineage."""
    metrics, params, tags = run.data.metrics, run.data.params, run.data.tags
    scores = [
        [metric.replace("_", " "), _number(metrics, f"{slug}/{metric}"), _between(metrics, f"{slug}/{metric}")]
        for slug in (Candidate.TUNED.slug,)
        for metric in Metric
        if f"{slug}/{metric}" in metrics
    ]
    prefix = f"{Candidate.TUNED.slug}/"
    first = headline_of(kind, {name.removeprefix(prefix) for name in metrics if name.startswith(prefix)}).metric
    others = [
        [candidate, _number(metrics, f"{candidate.slug}/{first}")]
        for candidate in Candidate
        if f"{candidate.slug}/{first}" in metrics
    ]
    datasets = [
        [entry.dataset.name, entry.dataset.digest] for entry in (run.inputs.dataset_inputs if run.inputs else ())
    ]
    return [
        _verdict_section(verdict),
        PageSection(
            "What it is",
            f"{INPUT_TEXT} {ANSWER_TEXTS[kind]}",
            columns=["parameter", "value"],
            rows=shown_params(params, tags),
        ),
        PageSection("Metrics on its test split", columns=["metric", "value", "95% interval"], rows=scores),
        PageSection("All candidates", columns=["model", first.value], rows=others),
        PageSection(
            "Lineage",
            columns=["", "version"],
            rows=[
                *datasets,
                ["weights", tags.get(Tag.WEIGHTS_MD5, "")],
                ["git commit", tags.get(Tag.GIT_COMMIT, "")],
                ["uncommitted changes", tags.get(Tag.GIT_DIRTY, "")],
                ["MLflow run", run.info.run_id],
            ],
        ),
    ]


def shown_params(params: Mapping[str, str], tags: Mapping[str, str]) -> list[list[str]]:
    """Returns the parameters that the card shows, with the recipe of a search in place of what it replaced."""
    replaced = FIXED_RECIPE if Tag.RECIPE in tags else ()
    rows = [[name, params[name]] for name in SHOWN_PARAMS if name in params and name not in replaced]
    return [*rows, ["recipe", tags[Tag.RECIPE]]] if replaced else rows


def _verdict_section(verdict: VerdictRecord | None) -> PageSection:
    if verdict is None:
        return PageSection("May it go live? not judged", f"Compared with live version: {NONE}.")
    return PageSection(
        f"May it go live? {verdict['verdict']}",
        f"Compared with live version: {verdict['against']}.",
        columns=COLUMNS,
        rows=[[check["what"], check["found"], check["wanted"], check["verdict"]] for check in verdict["checks"]],
    )


def _verdict(run_id: str) -> VerdictRecord | None:
    """Returns the verdict stored in a run's artifacts, or None if there is none."""
    import mlflow

    try:
        verdict: VerdictRecord = json.loads(mlflow.artifacts.load_text(f"runs:/{run_id}/{FOLDER}/{FILE}"))
    except (mlflow.exceptions.MlflowException, OSError, ValueError):
        return None
    return verdict


def _number(metrics: Mapping[str, float], name: str) -> str:
    return f"{metrics[name]:.4g}" if name in metrics else ""


def _between(metrics: Mapping[str, float], name: str) -> str:
    low, high = (metrics.get(f"{name}_{bound}") for bound in (LOW, HIGH))
    return f"{low:.4g} to {high:.4g}" if low is not None and high is not None else ""
