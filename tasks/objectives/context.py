"""Builds what all candidates of a fine-tuning share: images, device, backbone and files.

Shapes: N rows, C classes, V views, P numbers a view.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from tasks.core.errors import ParamsError
from tasks.core.paths import Paths
from tasks.core.schema import Balance, Column, Split
from tasks.core.sections import AugmentPolicy, BackboneParams, ComputeParams
from tasks.core.target import TargetSpec
from tasks.data.manifest import of_split
from tasks.hardware.device import Device, choose
from tasks.hardware.distributed import count, rank
from tasks.hardware.precision import device_for
from tasks.images.loading import ImageSquares
from tasks.images.transforms import VIEW_PARAMETERS, RenderStyle
from tasks.images.view_plan import plan_views
from tasks.models.backbone import Backbone, build
from tasks.models.freezing import freeze_all_but_last
from tasks.models.weights_file import read
from tasks.scorer.preprocessing import Preprocessing
from tasks.training.batches import Batches, TeacherOutputs
from tasks.training.checkpoint import digest_of
from tasks.training.class_balance import balance_weights, log_prior
from tasks.training.kinds import check_balance_supported, measure_for
from tasks.training.losses.partial_truth import mask_labels
from tasks.training.trainer import Trainer
from tasks.training.types import scoring


@dataclass(frozen=True)
class ImageLoader:
    """Builds batches from manifest rows: images below `root`, preprocessed for one backbone, on one device."""

    root: Path
    preprocessing: Preprocessing
    device: Device
    batch: int  # images in a forward pass
    memory_gib: float  # of decoded images that are kept for each set of rows

    def batches(
        self,
        rows: pd.DataFrame,
        y: Tensor,
        weight_N: Tensor | None = None,
        size: int = 0,
        *,
        drawn: bool = False,
        teacher: TeacherOutputs | None = None,
    ) -> Batches:
        """Returns batches of `size` rows (0: those of a forward pass); without `weight_N` all weights are 1."""
        squares = ImageSquares(self.root, list(rows[Column.PATH]), self.preprocessing, self.memory_gib)
        weight_N = torch.ones(len(rows)) if weight_N is None else weight_N
        how = (self.preprocessing, self.device, size or self.batch)
        return Batches(squares, y, weight_N, *how, drawn=drawn, teacher=teacher)


@dataclass(frozen=True)
class TrainingData:
    """The manifest, the target, the augmentation policy, and the weights of the training images, (N,)."""

    manifest: pd.DataFrame
    target: TargetSpec
    policy: AugmentPolicy
    balance: Balance
    weight_N: Tensor
    log_prior_C: Tensor | None  # set if logits are adjusted

    def rows(self, split: Split) -> pd.DataFrame:
        """Returns the usable images of a split."""
        return of_split(self.manifest, split)

    def encode(self, rows: pd.DataFrame) -> Tensor:
        """Encodes the targets of `rows`; unlabeled rows get -1 (classes) or NaN."""
        y = torch.from_numpy(self.target.encode(rows))
        unlabeled_N = torch.tensor((rows[Column.SPLIT] == Split.UNLABELED).to_numpy())
        y[unlabeled_N] = mask_labels(y[unlabeled_N])
        return y

    def sample_views(self, rows: pd.DataFrame, policy: AugmentPolicy | None = None) -> Tensor:
        """Returns the views of these rows, (N, V, P): as planned for training images, or of another policy."""
        images = zip(rows[Column.PATH], rows[Column.PIXEL_HASH], strict=True)
        planned = plan_views(images, self.policy) if policy is None else plan_views(images, policy, "other ")
        return views_of(planned, len(rows))


@dataclass(frozen=True)
class TrainingContext:
    """Everything that an objective may use; functions take the parts that they need."""

    files: Paths
    data: TrainingData
    loader: ImageLoader
    trainer: Trainer
    backbone: Backbone
    head: dict[str, Any]  # settings of the head, from its weights file
    batch: int  # images in an optimizer step

    def fresh_backbone(self) -> Backbone:
        """Copies the backbone as it was loaded."""
        return replace(self.backbone, module=copy.deepcopy(self.backbone.module))

    def clean_batches(self, rows: pd.DataFrame) -> Batches:
        """Returns batches of these rows with their encoded targets, all of the same weight."""
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
    """Loads what the candidates share. `last`: how many blocks or layers are trained; `key`: added to checkpoint keys.

    Raises ParamsError if the problem type does not support the balance, or batches are smaller than the number of
    processes.
    """
    backbone = _frozen_backbone(paths, backbone_params, last)
    device = choose(compute.device, compute.precision)
    if count() == 1:  # several processes must choose alike
        device = device_for(compute.device, compute.precision, backbone.module, backbone.preprocessing.crop)
    data = load_data(paths, balance)
    loader = ImageLoader(paths.raw, backbone.preprocessing, device, compute.batch, compute.memory / 4)
    trainer = _trainer(paths, data, replace(loader, memory_gib=compute.memory / 2), batch, key)
    check_batches_cover_processes(trainer)
    _start_files_afresh(paths)
    return TrainingContext(paths, data, loader, trainer, backbone, read(paths.head_weights)[1], batch)


def _frozen_backbone(paths: Paths, params: BackboneParams, last: tuple[int, str]) -> Backbone:
    sizes = (params.resize, params.crop)
    backbone = build(params.architecture, *read(paths.pretrained), *sizes, params.cut, params.letterbox)
    freeze_all_but_last(backbone.module, *last)
    return backbone


def load_data(paths: Paths, balance: Balance) -> TrainingData:
    """Reads manifest, target and policy, and weighs the training images as `balance` says."""
    manifest, target = pd.read_parquet(paths.manifest), TargetSpec.load(paths.task)
    check_balance_supported(balance, target)
    train = of_split(manifest, Split.TRAIN)
    y, weight_N, prior = torch.from_numpy(target.encode(train)), relative_weights(train), None
    if balance in {Balance.WEIGHTS, Balance.SAMPLING}:
        weight_N = balance_weights(weight_N, y, target.num_outputs)
    elif balance is Balance.LOGITS:
        prior = log_prior(weight_N, y, target.num_outputs)
    return TrainingData(manifest, target, AugmentPolicy.read(paths.policy), balance, weight_N, prior)


def _trainer(paths: Paths, data: TrainingData, loader: ImageLoader, batch: int, key: object) -> Trainer:
    train, validation = data.rows(Split.TRAIN), data.rows(Split.VALIDATION)
    inputs = (paths.manifest, paths.plan, paths.policy, paths.head_weights, paths.pretrained, paths.teacher)
    drawn = data.balance is Balance.SAMPLING
    return Trainer(
        train=loader.batches(train, data.encode(train), data.weight_N, batch, drawn=drawn),
        validation=loader.batches(validation, data.encode(validation), weights_of(validation)),
        draw_NVP=views_of(pd.read_parquet(paths.plan), len(train)),
        style=RenderStyle.of(data.policy),
        device=loader.device,
        checkpoints=paths.checkpoints / digest_of("tasks.finetune", inputs, [key, loader.device.facts()]),
        curves=paths.curves,
        target=data.target,
        scoring=scoring(measure_for(data.target, data.balance)),
    )


def _start_files_afresh(paths: Paths) -> None:
    paths.finetune.mkdir(parents=True, exist_ok=True)
    if not rank():
        for file in (paths.curves, paths.teacher_head):
            file.unlink(missing_ok=True)


def weights_of(rows: pd.DataFrame) -> Tensor:
    """Returns the weights of the rows, (N,)."""
    return torch.tensor(rows[Column.WEIGHT].to_numpy(), dtype=torch.float32)


def relative_weights(rows: pd.DataFrame) -> Tensor:
    """Returns the weights of the rows, (N,), scaled to a mean of 1, like unlabeled rows, which weigh 1 each."""
    weight_N = weights_of(rows)
    return weight_N / weight_N.mean()


def views_of(planned: pd.DataFrame, count: int) -> Tensor:
    """Returns planned views as (N, V, P), `count` images in the order of the plan."""
    return torch.tensor(planned[list(VIEW_PARAMETERS)].to_numpy(), dtype=torch.float32).view(
        count, -1, len(VIEW_PARAMETERS)
    )


def check_batches_cover_processes(trainer: Trainer) -> None:
    """Raises ParamsError if a batch has fewer rows than there are processes."""
    for batches, name in ((trainer.train, "finetune.batch"), (trainer.validation, "compute.batch")):
        smallest = batches.num_images // len(batches)
        if smallest < count():
            raise ParamsError(
                f"finetune.processes: {count()} processes for batches of {smallest} images; lower it, or raise {name}",
                key="finetune.processes",
            )
