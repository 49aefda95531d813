"""Choose: compares the candidates for the backbone again, on the images as they are now. Run by make choose."""

from __future__ import annotations

from flows.config.parameters import FlowParams
from flows.sources import choices
from flows.sources.images import bring_in
from flows.stages import dvc_cli
from flows.stages.child import check_outcome, run_supervised
from tasks.core.schema import STAGES


def choose(params: FlowParams) -> str:
    """Runs the stages up to choose without the pinned choice, and pins the new one. Returns the table of options.

    If that fails, the earlier choice is kept. Raises RootstockError if a stage fails.
    """
    for name, outcome in bring_in(params).items():
        print(f"{name} {outcome}")
    choices.unpin()
    for stage in STAGES[: STAGES.index("choose") + 1]:
        code, output = run_supervised(dvc_cli.reproduction(stage), params.run, print)
        check_outcome((stage,), code, output, params.run)
    choices.remember(params)
    return choices.table(params)
