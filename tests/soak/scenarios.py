"""What a cycle starts: the command, the project that it begins with, and the facts that must be as undisturbed."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flows.registry.ledger_lines import STATEMENTS, Event
from tests.project import Project
from tests.soak import state

OK = (0, 3, 4)  # exit codes of a retraining that has ended with a verdict
REQUEST = "champion"
ANSWER = "answer to "  # and the number of a version
TIME = re.compile(r", made \d+")


def nothing(_project: Project) -> None:
    """Prepares nothing."""


@dataclass(frozen=True)
class Scenario:
    """A command on a copy of a base project, and the facts about its results."""

    base: str
    arguments: tuple[str, ...]
    facts: Callable[[Path], dict[str, str]]
    prepare: Callable[[Project], None] = nothing
    exits: tuple[int, ...] = (0,)


def result_facts(root: Path) -> dict[str, str]:
    """Returns the digests of all outputs, the number of versions, and which one of them is the challenger.

    MLflow does not use the number of a version again that was removed because its run had ended before its proof.
    """
    database = state.mlflow_database(root)
    numbers = [str(version.number) for version in state.versions(database)]
    challenger = state.aliases(database).get("challenger", "none")
    place = str(numbers.index(challenger)) if challenger in numbers else challenger
    return {**state.outputs(root), "versions": str(len(numbers)), "challenger": place}


def release_facts(root: Path) -> dict[str, str]:
    """Returns the aliases, and the ledger without times, statements and corrections: those may be repeated."""
    repeated = STATEMENTS | {Event.CORRECTED}
    lines = [[line["event"], line["version"], line["live"]] for line in state.ledger(root)]
    lines = [line for line in lines if line[0] not in repeated]
    aliases = sorted(state.aliases(state.mlflow_database(root)).items())
    return {"aliases": str(aliases), "ledger": str(lines), **answers(root)}


def answers(root: Path) -> dict[str, str]:
    """Returns the answer to its last request that each version's tag tells, without times."""
    versions = state.versions(state.mlflow_database(root))
    tags = {version.number: version.tags.get("rootstock.release", "") for version in versions}
    return {f"{ANSWER}{number}": TIME.sub("", answer) for number, answer in tags.items()}


def prune_facts(root: Path) -> dict[str, str]:
    """Returns the versions, the runs, and the files of artifacts and data that are left."""
    database = state.mlflow_database(root)
    files = {
        name: sorted(str(path.relative_to(root / name)) for path in (root / name).rglob("*") if path.is_file())
        for name in (".registry/artifacts", ".registry/dvc/files", ".dvc/cache/files")
    }
    numbers = [version.number for version in state.versions(database)]
    return {
        "versions": str(numbers),
        "runs": str(sorted(state.runs(database))),
        **{n: str(f) for n, f in files.items()},
    }


def predict_facts(root: Path) -> dict[str, str]:
    """Returns the digests of the answers."""
    answers = state.digests(root / "answers")
    return {name: digest for name, digest in answers.items() if not name.startswith(".")}


def request_challenger(project: Project) -> None:
    """Asks for the promotion of the newest version, as a person does in MLflow."""
    request(project, state.aliases(state.mlflow_database(project.root))["challenger"])


def request(project: Project, number: str) -> None:
    project.mlflow().set_registered_model_alias(state.MODEL, REQUEST, number)


def copy_challenger(project: Project) -> None:
    """Promotes the newest version with MLflow's button, which copies it."""
    from mlflow import MlflowClient

    client = project.mlflow()
    assert isinstance(client, MlflowClient)
    number = state.aliases(state.mlflow_database(project.root))["challenger"]
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    client.copy_model_version(f"models:/{state.MODEL}/{number}", f"{state.MODEL}-production")


def request_old(project: Project) -> None:
    """Asks for a version whose verdict is against a version that is not live any more, which is refused."""
    request(project, "1")


def _retrain(base: str, *arguments: str) -> Scenario:
    return Scenario(base, ("retrain", *arguments), result_facts, exits=OK)


def scenarios(folder: Path) -> dict[str, Scenario]:
    """Returns all scenarios by name; sources are below `folder`."""
    return {
        "fresh": _retrain("prepared"),
        "source": _retrain("seasoned", "--data.source", str(folder / "source2")),
        "views": _retrain("seasoned", "--augment.views", "2"),
        "head": _retrain("seasoned", "--head.strengths", "[0.5]"),
        "finetune": _retrain("seasoned", "--finetune.epochs", "4"),
        "evaluate": _retrain("seasoned", "--evaluate.bins", "7"),
        "release": Scenario("seasoned", ("release",), release_facts, request_challenger),
        "release a copy": Scenario("seasoned", ("release",), release_facts, copy_challenger),
        "refuse": Scenario("seasoned", ("release",), release_facts, request_old),
        "rollback": Scenario("seasoned", ("rollback",), release_facts),
        "prune": Scenario("seasoned", ("prune", "--yes"), prune_facts),
        "predict": Scenario("seasoned", ("predict", str(folder / "pictures"), "--out", "answers"), predict_facts),
        "promote": Scenario("seasoned", ("up",), release_facts, request_challenger),
        "served retrain": _retrain("seasoned", "--evaluate.bins", "7"),
    }


REFERENCES = {"promote": "release", "served retrain": "evaluate"}  # the same without make up


def variant_of(name: str, variant: float) -> str:
    """Returns the scenario of a cycle: a release answers one of three requests."""
    return ("release", "release a copy", "refuse")[int(3 * variant)] if name == "release" else name
