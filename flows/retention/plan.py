"""What make prune removes: versions and runs that no alias, no recent or earlier live version and no age keeps."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flows.config.parameters import FlowParams
from flows.local.git_tips import contents_at_tips
from flows.registry.aliases import PRODUCTION
from flows.registry.ledger import Ledger
from flows.registry.promotion_requests import original_of
from flows.registry.store import client
from flows.registry.tags import Tag
from flows.registry.versions import is_there
from flows.retention.database import can_remove_for_good
from tasks.core.params import PARAMS_FILE

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

DAY_MS = 24 * 3600 * 1000
REFERENCE = "models:/"
RUNNING = "RUNNING"  # state of an MLflow run


@dataclass(frozen=True)
class RetentionPlan:
    """The versions (and promoted copies) and runs to remove, and the versions to keep with the reason for each."""

    versions: tuple[ModelVersion, ...] = ()
    runs: tuple[Run, ...] = ()
    kept: dict[str, str] = field(default_factory=dict)  # number: reason

    def ids(self) -> set[str]:
        """Returns a name for each item to remove, which no other item will ever have."""
        return {_id(each) for each in self.versions} | {each.info.run_id for each in self.runs}

    def only(self, ids: set[str]) -> RetentionPlan:
        """Returns the plan without the items that have other names."""
        versions = [each for each in self.versions if _id(each) in ids]
        runs = [each for each in self.runs if each.info.run_id in ids]
        return RetentionPlan(tuple(versions), tuple(runs), self.kept)


def _id(version: ModelVersion) -> str:
    """Returns a name for a version; numbers alone are used again after a model was deleted."""
    return f"{version.name}/{version.version} {version.creation_timestamp}"


def make_plan(params: FlowParams, ledger: Ledger, now_ms: int) -> RetentionPlan:
    """Returns the plan for the model and the experiment of params.yaml. Only what Rootstock made is in it."""
    name, cutoff = params.register_.model, now_ms - params.retention.keep_days * DAY_MS
    versions, copies = versions_of(name), versions_of(f"{name}{PRODUCTION}")
    kept_copies = [copy for copy in copies if _is_copy_kept(copy, cutoff)]
    reasons = _reasons(params, ledger, kept_copies)
    kept: dict[str, str] = {}
    for version in versions:
        aliases = ", ".join(sorted(version.aliases))
        age = "recent" if version.creation_timestamp >= cutoff else ""
        theirs = "" if Tag.KEY in version.tags else "not made by Rootstock"
        if reason := aliases or reasons.get(str(version.version)) or theirs or age:
            kept[str(version.version)] = reason
    going = [version for version in versions if str(version.version) not in kept]
    going += [copy for copy in copies if copy not in kept_copies]
    gone = {(each.name, str(each.version)) for each in going}
    kept_runs = {str(each.run_id) for each in all_versions() if (each.name, str(each.version)) not in gone}
    runs = [run for run in _runs(params.register_.experiment) if _is_run_over(run, cutoff, kept_runs)]
    return RetentionPlan(tuple(going), tuple(runs), kept)


def registered_runs() -> set[str]:
    """Returns the runs of all versions that Rootstock registered, of every model: they share DVC's cache."""
    return {str(version.run_id) for version in all_versions() if Tag.KEY in version.tags}


def runs_with_aliases() -> set[str]:
    """Returns the runs of those versions that have an alias."""
    names = {version.name for version in all_versions() if Tag.KEY in version.tags}
    return {str(version.run_id) for name in names for version in versions_of(name) if version.aliases}


def all_versions() -> list[ModelVersion]:
    """Returns the versions of all registered models, without their aliases."""
    return list(_pages(lambda token: client().search_model_versions(page_token=token)))


def versions_of(name: str) -> list[ModelVersion]:
    """Returns all versions of a registered model with their aliases; none if there is no such model."""
    listed = list(_pages(lambda token: client().search_model_versions(f"name = '{name}'", page_token=token)))
    aliases = client().get_registered_model(name).aliases if listed else {}
    for version in listed:  # a search leaves them out
        version.aliases = [alias for alias, number in aliases.items() if str(number) == str(version.version)]
    return listed


def _reasons(params: FlowParams, ledger: Ledger, kept_copies: list[ModelVersion]) -> dict[str, str]:
    """Returns the versions that something other than an alias or their age keeps, with the reason."""
    name = params.register_.model
    references = re.compile(rf"{REFERENCE}{re.escape(name)}/([0-9]+)\b")
    texts = (PARAMS_FILE.read_text(encoding="utf-8"), *contents_at_tips(str(PARAMS_FILE)))
    named = {number for text in texts for number in references.findall(text)} | {params.predict.model}
    reasons = dict.fromkeys(named, "named in params.yaml")
    reasons |= {original_of(name, copy): f"copied to {copy.name}" for copy in kept_copies}
    before = dict.fromkeys(live.number for live in ledger.before_live() if is_there(name, live))
    reasons |= dict.fromkeys(list(before)[: params.retention.keep_lives], "was live")
    return reasons | ({ledger.live.number: "live"} if ledger.live else {})


def _is_copy_kept(copy: ModelVersion, cutoff: int) -> bool:
    """Returns whether a promoted copy stays: it has an alias, is recent, or is a request without an answer."""
    return bool(copy.aliases) or copy.creation_timestamp >= cutoff or Tag.RELEASE not in copy.tags


def _is_run_over(run: Run, cutoff: int, kept_runs: set[str]) -> bool:
    is_ours = Tag.CHECKOUT in run.data.tags
    return is_ours and run.info.status != RUNNING and run.info.start_time < cutoff and run.info.run_id not in kept_runs


def _runs(experiment: str) -> Iterator[Run]:
    """Yields the runs of an experiment, including deleted ones in a store that can remove them for good."""
    from mlflow.entities import ViewType

    tracker = client()
    entry = tracker.get_experiment_by_name(experiment)
    view = ViewType.ALL if can_remove_for_good() else ViewType.ACTIVE_ONLY
    if entry:
        ids = [entry.experiment_id]
        yield from _pages(lambda token: tracker.search_runs(ids, run_view_type=view, page_token=token))


def _pages(search: Callable[[str | None], Any]) -> Iterator[Any]:
    """Yields the entries of all pages of a search."""
    page = search(None)
    yield from page
    while page.token:
        page = search(page.token)
        yield from page
