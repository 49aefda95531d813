"""Finetune: the head first, then the last blocks with it (LP-FT); beside it the same network from random weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pydantic import Field

from tasks.parts.params import BackboneParams, ComputeParams, Section, StageParams
from tasks.parts.paths import Paths

EVERYTHING = 10**6  # blocks


class FinetuneSection(Section):
    """How the last blocks learn; the rates are AdamW's."""

    blocks: int = Field(ge=0, description="last blocks of the backbone that learn with the head")
    epochs: int = Field(ge=0, description="passes over the training images, a view each; 0: the probe as it is")
    batch: int = Field(ge=2, description="images an optimiser step")
    rate: float = Field(gt=0, description="learning rate of the last block")
    head_rate: float = Field(gt=0, description="learning rate of the head")
    decay: float = Field(gt=0, le=1, description="factor of the rate from each block to the one before it")
    weight_decay: float = Field(ge=0)
    warmup: float = Field(ge=0, lt=1, description="fraction of the steps")
    patience: int = Field(ge=1, description="epochs without a lower validation loss before it stops")
    batchnorm: Literal["frozen", "training"] = Field(
        description="frozen: the learning blocks keep their statistics too"
    )


class ScratchSection(Section):
    """The baseline: the same network from random weights, as many optimiser steps."""

    run: bool = Field(description="whether to train it")
    rate: float = Field(gt=0, description="learning rate of all layers")


class FinetuneParams(StageParams):
    """What finetune reads of params.yaml."""

    seed: int
    backbone: BackboneParams
    compute: ComputeParams
    finetune: FinetuneSection
    scratch: ScratchSection


class FinetuneReport(Section):
    """Steps and seconds of both models, and the epoch whose weights were kept."""

    steps: int
    best_epoch: int
    validation_score: float
    seconds_tuned: float
    seconds_scratch: float


def finetune(paths: Paths, params: FinetuneParams) -> FinetuneReport:
    """Writes both networks and their curves. Raises RootstockError if a loss is not finite."""
    from shutil import rmtree

    import pandas as pd
    import torchvision  # noqa: F401 - imported here, so that its two seconds are not the stage's own

    from tasks.parts.backbone import build, freeze_all_but_last, parameter_groups
    from tasks.parts.bench import Bench, batches, draws
    from tasks.parts.candidates import probe_network, scratch_network
    from tasks.parts.checkpoint import digest_of
    from tasks.parts.device import choose
    from tasks.parts.errors import ParamsError
    from tasks.parts.files import read_json
    from tasks.parts.fit import Recipe
    from tasks.parts.goal import Goal
    from tasks.parts.manifest import of_split, usable
    from tasks.parts.names import Candidate, Curve, Split
    from tasks.parts.progress import say
    from tasks.parts.weights import read, write

    section, wanted = params.finetune, params.backbone
    device = choose(params.compute.device, params.compute.precision)
    backbone = build(wanted.architecture, *read(paths.pretrained), wanted.resize, wanted.crop, wanted.cut)
    manifest = pd.read_parquet(paths.manifest)
    goal = Goal.of(usable(manifest))
    train, validation = of_split(manifest, Split.TRAIN), of_split(manifest, Split.VALIDATION)
    inputs = (paths.manifest, paths.plan, paths.policy, paths.head_weights, paths.pretrained)
    memory = params.compute.memory / 2
    bench = Bench(
        train=batches(paths.raw, train, goal, backbone.preprocessing, device, section.batch, memory),
        validation=batches(paths.raw, validation, goal, backbone.preprocessing, device, params.compute.batch, memory),
        draw_NV7=draws(pd.read_parquet(paths.plan), len(train)),
        fill=read_json(paths.policy)["fill"],
        device=device,
        checkpoints=paths.checkpoints / digest_of(inputs, [params.model_dump(), device.facts()]),
        curves=paths.curves,
        goal=goal,
    )
    paths.finetune.mkdir(parents=True, exist_ok=True)
    paths.curves.unlink(missing_ok=True)

    _, head = read(paths.head_weights)
    if head["kind"] == "knn" and section.epochs:
        raise ParamsError("a knn head has nothing to fine-tune: set finetune.epochs to 0, or take another head.kind")
    network = probe_network(backbone, paths.head_weights, goal.outputs)
    learning = freeze_all_but_last(network.backbone, section.blocks)
    groups = parameter_groups(network, learning, section.head_rate, section.rate, section.decay)
    recipe = Recipe(
        section.epochs, len(bench.train), section.warmup, section.weight_decay, section.patience, params.seed
    )
    adapt = section.batchnorm == "training"
    tuned = bench.fit(Candidate.TUNED, network, recipe, learning=learning, groups=groups, batch_statistics=adapt)
    write(paths.tuned, network.state_dict())

    seconds_scratch = 0.0
    if params.scratch.run:
        network = scratch_network(wanted.architecture, wanted.cut, head, goal, params.seed)
        learning = freeze_all_but_last(network.backbone, EVERYTHING)
        groups = parameter_groups(network, learning, params.scratch.rate, params.scratch.rate, decay=1)
        recipe = replace(recipe, epochs=tuned.epoch, patience=tuned.epoch)
        seconds_scratch = bench.fit(
            Candidate.SCRATCH, network, recipe, learning=learning, groups=groups, batch_statistics=True
        ).seconds
        write(paths.scratch, network.state_dict())

    rmtree(paths.checkpoints, ignore_errors=True)
    best = min(tuned.rows, key=lambda row: row[Curve.VALIDATION_LOSS])
    say(f"kept epoch {best[Curve.EPOCH]} of {tuned.epoch}: {goal.told(best[Curve.VALIDATION_SCORE])}")
    return FinetuneReport(
        steps=int(tuned.rows[-1][Curve.STEP]),
        best_epoch=int(best[Curve.EPOCH]),
        validation_score=best[Curve.VALIDATION_SCORE],
        seconds_tuned=tuned.seconds,
        seconds_scratch=seconds_scratch,
    )
