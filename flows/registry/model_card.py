"""The model card of a version: nothing but what MLflow holds of it (after Mitchell et al., "Model Cards", 2019)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from flows.registry.kinds import ANSWER_TEXTS
from flows.registry.store import client
from flows.registry.tags import Tag
from flows.registry.verdict import COLUMNS, FILE, FOLDER
from tasks.core.schema import HIGH, LOW, Candidate, Metric
from tasks.core.target import TargetKind
from tasks.metrics.headline import HEADLINES
from tasks.reports.page import PageSection, markdown, page

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

CARD = "card"  # the folder on the run of the version
LONGEST = 5000  # characters of a description, in every database that MLflow supports
DECISIVE = (
    "data.source",
    "data.targets",
    "data.separator",
    "backbone.architecture",
    "backbone.weights",
    "head.kind",
    "finetune.blocks",
    "finetune.epochs",
    "balance",
    "objective",
    "teacher.weights",
    "seed",
)


def write_card(version: ModelVersion, kind: TargetKind) -> str:
    """Puts the card on the version, as its description, and on its run as Markdown and HTML. Returns the Markdown."""
    tracker = client()
    run_id = str(version.run_id)
    sections = card(kind, tracker.get_run(run_id), _verdict(run_id))
    text = markdown(sections)
    if version.description == text[:LONGEST]:
        return text
    title = f"{version.name} version {version.version}"
    tracker.log_text(run_id, f"# {title}\n\n{text}", str(Path(CARD) / "card.md"))
    tracker.log_text(run_id, page(title, sections), str(Path(CARD) / "card.html"))
    tracker.update_model_version(version.name, version.version, text[:LONGEST])
    return text


def card(kind: TargetKind, run: Run, verdict: Mapping[str, object]) -> list[PageSection]:
    """Returns the sections: whether it may go live, what it is, how good, what it was made from."""
    metrics, params, tags = run.data.metrics, run.data.params, run.data.tags
    scores = [
        [metric.replace("_", " "), _number(metrics, f"{slug}/{metric}"), _between(metrics, f"{slug}/{metric}")]
        for slug in (Candidate.TUNED.slug,)
        for metric in Metric
        if f"{slug}/{metric}" in metrics
    ]
    first = HEADLINES[kind].metric
    rivals = [
        [candidate, _number(metrics, f"{candidate.slug}/{first}")]
        for candidate in Candidate
        if f"{candidate.slug}/{first}" in metrics
    ]
    datasets = [[used.dataset.name, used.dataset.digest] for used in (run.inputs.dataset_inputs if run.inputs else ())]
    checks = verdict.get("checks", [])
    rows = [[check["what"], check["found"], check["wanted"], check["verdict"]] for check in checks]  # type: ignore[attr-defined]
    return [
        PageSection(
            f"May it go live? {verdict.get('verdict', 'not judged')}",
            f"Compared with live version: {verdict.get('against', 'none')}.",
            columns=list(COLUMNS),
            rows=rows,
        ),
        PageSection(
            "What it is",
            ANSWER_TEXTS[kind],
            columns=["parameter", "value"],
            rows=[[name, params[name]] for name in DECISIVE if name in params],
        ),
        PageSection("How good on its test split", columns=["metric", "value", "95% interval"], rows=scores),
        PageSection("Beside", columns=["model", first.value], rows=rivals),
        PageSection(
            "What it was made from",
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


def _verdict(run_id: str) -> Mapping[str, object]:
    """The verdict that was logged; empty if there is none."""
    import mlflow

    try:
        text: str = mlflow.artifacts.load_text(f"runs:/{run_id}/{FOLDER}/{FILE}")
    except (mlflow.exceptions.MlflowException, OSError):
        return {}
    verdict: Mapping[str, object] = json.loads(text)
    return verdict


def _number(metrics: Mapping[str, float], name: str) -> str:
    return f"{metrics[name]:.4g}" if name in metrics else ""


def _between(metrics: Mapping[str, float], name: str) -> str:
    low, high = (metrics.get(f"{name}_{bound}") for bound in (LOW, HIGH))
    return f"{low:.4g} to {high:.4g}" if low is not None and high is not None else ""
