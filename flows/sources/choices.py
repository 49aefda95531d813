"""Remembers the backbone that was chosen for a source, beside the registry, so that runs in any checkout keep it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from filelock import FileLock

from flows.local.environment import REGISTRY
from flows.stages import dvc_cli
from tasks.core.files import read_json, write_json
from tasks.core.params import CHOICE, PINS
from tasks.selection.choice import Choice

if TYPE_CHECKING:
    from flows.config.parameters import FlowParams

FILE = REGISTRY / "choices.json"


def remembered(params: FlowParams) -> dict[str, Any] | None:
    """Returns the JSON form of the choice for the model's source, or None."""
    choice: dict[str, Any] | None = _all().get(_key(params))
    return choice


def remember(params: FlowParams) -> None:
    """Pins the choice that the stage has made, if there was anything to choose from.

    The stage would make the same choice with the pin, so DVC records the pin as its dependency without a rerun.
    """
    fields = read_json(params.paths.choice)
    if not Choice.of(fields).table or read_json(PINS)[CHOICE] == remembered(params) == fields:
        return
    with FileLock(FILE.with_suffix(".lock")):  # other checkouts may choose at the same time
        write_json(FILE, {**_all(), _key(params): fields})
    write_json(PINS, {**read_json(PINS), CHOICE: fields})
    dvc_cli.accept("choose")


def table(params: FlowParams) -> str:
    """Returns the options and their scores as a table, and the choice in its last line."""
    choice = Choice.load(params.paths.choice)
    rows = [f"{row.option:<28} {row.score:6.3f} +- {row.standard_error:.3f}  {row.gflops:7.2f}" for row in choice.table]
    head = f"{'backbone':<28} score              GFLOPs"
    return "\n".join([head, *rows, choice.describe(choice.images)] if rows else [choice.describe(choice.images)])


def unpin() -> None:
    """Removes the pin of this checkout, so that the stage compares the candidates again.

    Until that ends well, the earlier choice is remembered, and the next run pins it again.
    """
    write_json(PINS, {**read_json(PINS), CHOICE: None})


def _all() -> dict[str, Any]:
    return dict(read_json(FILE)) if FILE.exists() else {}


def _key(params: FlowParams) -> str:
    return f"{params.register_.model}: {params.data.source}"
