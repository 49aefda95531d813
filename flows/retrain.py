"""Retrain: from the images that data.source names to a registered model. Run by make run."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from prefect import State, flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed

from flows.config.deployment_form import changes, form
from flows.config.overrides import write_values
from flows.config.parameters import load
from flows.local.environment import CHECKOUT, MAIN_CHECKOUT
from flows.local.lock import flow_lock
from flows.local.logs import plain_errors
from flows.registry.model_card import write_card
from flows.registry.register import register_version
from flows.registry.run_summary import Result, publish
from flows.registry.runs import Run
from flows.registry.verdict import EXIT_CODES, Judgement, judge
from flows.registry.versions import resolve
from flows.sources import images
from flows.stages import dvc_cli
from flows.stages.supervise import Outcome, reproduce
from tasks.core.params import Section
from tasks.core.paths import PathsParams
from tasks.core.schema import STAGES
from tasks.core.target import TargetSpec
from tasks.evaluation.requirements import check_attacks_installed, check_attacks_supported
from tasks.objectives.requirements import check_objective_supported

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

    from flows.config.parameters import FlowParams

    Parameters = Section
else:
    Parameters = form()

LOCK_SECONDS = 4 * 3600.0  # that a deployed retraining waits for another one; a person is told at once


@flow(name="retrain")
def retrain(parameters: Parameters = Parameters()) -> Result:  # noqa: B008 - made once, from params.yaml
    """Source, the seven stages, registration and the verdict; what is up to date is not computed again.

    Parameters that differ from params.yaml are written there first. The state is named after the verdict; its result
    is the table and the exit code.
    """
    plain_errors()
    with flow_lock(PathsParams.load().paths.state, "retrain", wait=0 if CHECKOUT == MAIN_CHECKOUT else LOCK_SECONDS):
        for line in write_values(changes(parameters)).splitlines()[3:]:
            get_run_logger().info(line)
        params = load()
        check_attacks_installed(params.evaluate.attacked)
        outdated = bring_in(params)
        with Run.of(params) as run:
            outcomes = []
            for stage in STAGES:
                outcomes.append(reproduced(stage, params, run, outdated))
                if stage == "validate":
                    refuse_early(params)
            version = register(params, run)
            judgement = decide(version, params)
            text = publish(outcomes, version, judgement, params, run)
    result = Result(text, EXIT_CODES[judgement.verdict])
    state: State[Result] = Completed(name=judgement.verdict.value.capitalize(), message=judgement.why(), data=result)
    return cast("Result", state)  # which is what Prefect makes of it


@task(task_run_name="source", cache_policy=NO_CACHE)
def bring_in(params: FlowParams) -> list[str]:
    """Brings in images and weights. The stages that are outdated then."""
    for name, became in images.bring_in(params).items():
        get_run_logger().info(f"{name} {became}")
    return dvc_cli.outdated(params.paths.raw, params.paths.pretrained, params.paths.teacher)


def refuse_early(params: FlowParams) -> None:
    """Raises ParamsError for what these images cannot be used for, before hours of computing come to it."""
    import pandas as pd

    from tasks.data.slices import refuse_unknown

    manifest = pd.read_parquet(params.paths.manifest)
    target = TargetSpec.load(params.paths.task)
    check_objective_supported(params.objective, manifest, target)
    check_attacks_supported(params.evaluate.attacked, target.kind)
    refuse_unknown(manifest, params.evaluate.slices)
    if params.objective.has_teacher and params.teacher.weights:
        from tasks.objectives.teacher import check_teacher_classes  # torch, which only this one needs

        check_teacher_classes(params.paths.teacher, target)


def reproduced(stage: str, params: FlowParams, run: Run, outdated: list[str]) -> Outcome:
    """The stage, supervised, and its curves, seconds and report logged as they come."""
    supervised = reproduce.with_options(retries=params.run.retries)
    on_line = run.follow_curves if stage == "finetune" else run.open
    outcome = supervised(stage, params, outdated=stage in outdated, on_line=on_line)
    run.log_stage(outcome)
    return outcome


@task(task_run_name="register", cache_policy=NO_CACHE)
def register(params: FlowParams, run: Run) -> ModelVersion:
    """The version of the model for these results; a new one only if there was none."""
    version, new = register_version(run, params.register_.model, params.paths)
    get_run_logger().info(
        f"{version.name} version {version.version}" + (", new: challenger" if new else " is there already")
    )
    return version


@task(task_run_name="gate", cache_policy=NO_CACHE)
def decide(version: ModelVersion, params: FlowParams) -> Judgement:
    """The verdict on the version, against what is live now; and its card, which says so too."""
    judgement = judge(version, params.gate, params.evaluate.slices, params.paths)
    write_card(resolve(version.name, str(version.version)), TargetSpec.load(params.paths.task).kind)
    get_run_logger().info(f"{judgement.verdict}: {judgement.why()}")
    return judgement
