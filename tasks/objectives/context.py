"""Builds the resources shared by all fine-tuning candidates: images, device, backbone and files."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tasks.core.errors import ParamsError
from tasks.core.paths import Paths
from tasks.core.schema import Balance, Split
from tasks.core.sections import BackboneParams, ComputeParams
from tasks.core.sizing import SPLIT_SHARE
from tasks.data.decoding import load as load_decoding
from tasks.hardware.device import choose
from tasks.hardware.distributed import count, rank
from tasks.hardware.precision import device_for
from tasks.images.transforms import RenderStyle
from tasks.models.backbone import Backbone, build
from tasks.models.freezing import freeze_all_but_last
from tasks.models.weights_file import read
from tasks.objectives.data import ImageLoader, TrainingData, load_data, weights_of
from tasks.training.batches import Batches
from tasks.training.checkpoint import digest_of
from tasks.training.interpolation import choose_by
from tasks.training.kinds import measure_for, row_loss_for
from tasks.training.trainer import Trainer
from tasks.training.types import scoring

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class TrainingContext:
    """All resources available to an objective; functions take only the parts that they need."""

    files: Paths
    data: TrainingData
    loader: ImageLoader
    trainer: Trainer
    backbone: Backbone
    head: dict[str, Any]  # head settings, from the weights file
    batch: int  # images per optimizer step

    def fresh_backbone(self) -> Backbone:
        """Returns a copy of the backbone as loaded."""
        return replace(self.backbone, module=copy.deepcopy(self.backbone.module))

    def clean_batches(self, rows: pd.DataFrame) -> Batches:
        """Returns batches of these rows with their encoded targets, all with equal weights."""
        return self.loader.batches(rows, self.data.encode(rows))


def build_context(
    paths: Paths,
    backbone_params: BackboneParams,
    compute: ComputeParams,
    batch: int,
    last: tuple[int, str],
    *,
    balance: Balance,
    key: object,
) -> TrainingContext:
    """Loads the resources that candidates share.

    `last`: the number of trained blocks or layers, and which of the two; `key`: added to checkpoint keys. Raises
    ParamsError if the problem type does not support the balance, or batches are smaller than the number of processes.
    """
    backbone = _frozen_backbone(paths, backbone_params, last)
    device = choose(compute.device, compute.precision)
    if count() == 1:  # several processes must make the same choice
        device = device_for(compute.device, compute.precision, backbone.module, backbone.preprocessing.crop)
    data = load_data(paths, balance)
    loader = ImageLoader(paths.raw, backbone.preprocessing, device, compute.batch, compute.memory / 4)
    trainer = _trainer(paths, data, replace(loader, memory_gib=SPLIT_SHARE * compute.memory), batch, key)
    check_batches_cover_processes(trainer)
    _start_files_afresh(paths)
    return TrainingContext(paths, data, loader, trainer, backbone, read(paths.head_weights)[1], batch)


def _frozen_backbone(paths: Paths, params: BackboneParams, last: tuple[int, str]) -> Backbone:
    sizes, decoding = (params.resize, params.crop), load_decoding(paths.decoding)
    backbone = build(params.architecture, *read(paths.pretrained), *sizes, params.cut, params.letterbox, decoding)
    freeze_all_but_last(backbone.module, *last)
    return backbone


def _trainer(paths: Paths, data: TrainingData, loader: ImageLoader, batch: int, key: object) -> Trainer:
    train, validation = data.rows(Split.TRAIN), data.rows(Split.VALIDATION)
    inputs = (paths.manifest, paths.policy, paths.head_weights, paths.pretrained, paths.teacher)
    drawn = data.balance is Balance.SAMPLING
    return Trainer(
        train=loader.batches(train, data.encode(train), data.weight_N, batch, drawn=drawn),
        validation=loader.batches(validation, data.encode(validation), weights_of(validation)),
        views=data.views(train),
        style=RenderStyle.of(data.policy),
        device=loader.device,
        checkpoints=paths.checkpoints / digest_of("tasks.finetune", inputs, [key, loader.device.facts()]),
        curves=paths.curves,
        target=data.target,
        scoring=scoring(measure_for(data.target, data.balance)),
        choose_alpha=choose_by(row_loss_for(data.target, data.balance)),
    )


def _start_files_afresh(paths: Paths) -> None:
    paths.finetune.mkdir(parents=True, exist_ok=True)
    if not rank():
        for file in (paths.curves, paths.teacher_head, paths.search, paths.out_of_fold):
            file.unlink(missing_ok=True)


def check_batches_cover_processes(trainer: Trainer) -> None:
    """Raises ParamsError if a batch has fewer rows than there are processes."""
    for batches, name in ((trainer.train, "finetune.batch"), (trainer.validation, "compute.batch")):
        smallest = batches.num_images // len(batches)
        if smallest < count():
            raise ParamsError(
                f"finetune.processes: {count()} processes for batches of {smallest} images; lower it, or raise {name}",
                key="finetune.processes",
            )
