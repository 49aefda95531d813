"""Retrain: turns the images that data.source names into a registered model. Run by make run."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, cast

from prefect import State, flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed

from flows.config import overrides
from flows.config.deployment_form import changes, form
from flows.config.parameters import load
from flows.estimates.present import present
from flows.estimates.room import refuse_too_large
from flows.estimates.words import long_run
from flows.local.environment import CHECKOUT, MAIN_CHECKOUT
from flows.local.flow_runs import end_leftover
from flows.local.lock import DEPLOYED_SECONDS, flow_lock
from flows.local.logs import Detail, Started, as_event, plain_errors
from flows.registry.model_card import write_card
from flows.registry.register import register_version
from flows.registry.run_summary import Result, publish
from flows.registry.runs import Run
from flows.registry.store import client
from flows.registry.verdict import EXIT_CODES, Judgement, judge
from flows.registry.versions import resolve
from flows.sources import choices, images, split_memory
from flows.stages import dvc_cli
from flows.stages.fork_server import dvc_server, stage_server
from flows.stages.supervise import Outcome, log_message, reproduce
from tasks.core.params import Section
from tasks.core.paths import PathsParams
from tasks.core.progress import listening
from tasks.core.schema import STAGES
from tasks.core.target import TargetSpec
from tasks.evaluation.requirements import check_attacks_installed, check_attacks_supported
from tasks.objectives.requirements import check_objective_supported, check_search_installed

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

    from flows.config.parameters import FlowParams

    Parameters = Section
else:
    Parameters = form()


@flow(name="retrain")
def retrain(parameters: Parameters = Parameters()) -> Result:  # noqa: B008 - the defaults come from params.yaml
    """Runs the import, the eight stages, registration and the gate; stages that are up to date are not rerun.

    Parameters that differ from params.yaml are written to it first. The final state is named after the verdict.
    Raises RootstockError if a step fails.
    """
    plain_errors()
    state = PathsParams.load().paths.state
    wait = 0 if CHECKOUT == MAIN_CHECKOUT else DEPLOYED_SECONDS
    with flow_lock(state, "retrain", wait=wait), dvc_server(state):
        end_leftover(state)
        for line in overrides.write_values(changes(parameters)).splitlines()[3:]:
            get_run_logger().info(line)
        params = load()
        client()  # a store that refuses access says so before anything is imported or computed
        check_attacks_installed(params.evaluate.attacked)
        check_search_installed(params.objective, params.unlabelled)
        outdated = bring_in(params)
        with Run.of(params, get_run_logger().warning) as run:
            overrides.keep()
            with stage_server(params.paths.state, outdated):
                outcomes = list(reproduce_stages(params, run, outdated))
            version = register(params, run)
            judgement = decide(version, params)
            text = publish(outcomes, version, judgement, params, run)
    result = Result(text, EXIT_CODES[judgement.verdict])
    verdict: State[Result] = Completed(name=judgement.verdict.value.capitalize(), message=judgement.why(), data=result)
    return cast("Result", verdict)  # Prefect returns the data of a completed state


@task(task_run_name="source", cache_policy=NO_CACHE)
def bring_in(params: FlowParams) -> list[str]:
    """Imports images and weights, and the memory of splits if ingest will run. Returns the outdated stages."""
    log = get_run_logger()
    log.info("running", extra=as_event(Started()))
    with listening(partial(log_message, log)):
        outcomes = images.bring_in(params)
    for name, outcome in outcomes.items():
        log.info("%s %s", name, outcome)
    outdated = dvc_cli.outdated(params.paths.raw, params.paths.candidates, params.paths.teacher)
    if STAGES[0] in outdated:
        split_memory.renew(params.paths)
    if outdated and (now := present(params.paths)) and (line := long_run(now, outdated)):
        log.info(line)
    return outdated


def reproduce_stages(params: FlowParams, run: Run, outdated: list[str]) -> Iterator[Outcome]:
    """Runs the stages in order, and checks in between what only an earlier stage's results tell. Yields outcomes."""
    for stage in STAGES:
        yield reproduce_stage(stage, params, run, outdated)
        if stage == "validate":
            check_parameters_fit_data(params)
        if stage == "choose":
            choices.remember(params)
            check_room(params, outdated)


def check_parameters_fit_data(params: FlowParams) -> None:
    """Raises ParamsError, before hours of computation, if the data does not support a parameter of a later stage."""
    from tasks.data.manifest import read_manifest
    from tasks.data.slices import refuse_unknown

    manifest = read_manifest(params.paths.manifest)
    target = TargetSpec.load(params.paths.task)
    check_objective_supported(params.objective, manifest, target)
    check_attacks_supported(params.evaluate.attacked, target.kind)
    refuse_unknown(manifest, params.evaluate.slices)
    if params.objective.has_teacher and params.teacher.weights:
        from tasks.objectives.teacher import check_teacher_classes  # imports torch, which nothing else here needs

        check_teacher_classes(params.paths.teacher, target)


def check_room(params: FlowParams, outdated: list[str]) -> None:
    """Raises RootstockError, before hours of computation, if a later stage certainly needs too much memory."""
    if outdated and (now := present(params.paths)):
        refuse_too_large(now, [stage for stage in outdated if stage in STAGES[STAGES.index("choose") + 1 :]])


def reproduce_stage(stage: str, params: FlowParams, run: Run, outdated: list[str]) -> Outcome:
    """Runs a stage under supervision, and logs its curves, duration and report as they arrive."""
    supervised = reproduce.with_options(retries=params.run.retries)
    on_line = run.follow_curves if stage == "finetune" else run.open
    outcome = supervised(stage, params, outdated=stage in outdated, on_line=on_line)
    run.log_stage(outcome)
    return outcome


@task(task_run_name="register", cache_policy=NO_CACHE)
def register(params: FlowParams, run: Run) -> ModelVersion:
    """Returns the version for the current results; registers a new version only if there is none.

    The splits of its images are remembered first, so that no version is without them. Raises RootstockError if MLflow
    does not answer for minutes.
    """
    run.catch_up()
    if new := split_memory.remember(params.paths):
        get_run_logger().info(f"{new} images keep their split from now on")
    version, is_new = register_version(run, params.register_.model, params.paths)
    get_run_logger().info(
        f"{version.name} version {version.version}" + (", new: challenger" if is_new else ", already registered")
    )
    return version


@task(task_run_name="gate", cache_policy=NO_CACHE)
def decide(version: ModelVersion, params: FlowParams) -> Judgement:
    """Judges the version against the live version, and writes its model card."""
    judgement = judge(version, params.gate, params.evaluate.slices, params.paths)
    write_card(resolve(version.name, str(version.version)), TargetSpec.load(params.paths.task).kind)
    get_run_logger().info(f"{judgement.verdict}: {judgement.why()}", extra=as_event(Detail()))
    return judgement
