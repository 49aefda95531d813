"""What all candidates of a fine-tuning share: data, machine, backbone, and the teacher where there is one."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from tasks.core.errors import ParamsError
from tasks.core.files import read_json
from tasks.core.paths import Paths
from tasks.core.schema import Balance, Column, Split
from tasks.core.sections import BackboneParams, ComputeParams
from tasks.data.manifest import of_split, usable
from tasks.hardware.device import choose
from tasks.hardware.distributed import count, rank
from tasks.hardware.precision import device_for
from tasks.images.transforms import style_of
from tasks.images.view_plan import plan
from tasks.models.backbone import Backbone, build
from tasks.models.freezing import freeze_all_but_last
from tasks.models.weights_file import read
from tasks.training.batches import Answers, Batches
from tasks.training.checkpoint import digest_of
from tasks.training.class_balance import balanced, log_prior
from tasks.training.goal import Goal
from tasks.training.losses.partial_truth import without
from tasks.training.trainer import Bench, batches, draws, weights_of


@dataclass(frozen=True)
class Setting:
    """The bench, the backbone as it came, what the head is, and the classes' shares where logits are adjusted."""

    paths: Paths
    bench: Bench
    backbone: Backbone
    head: dict[str, Any]
    log_prior_C: Tensor | None
    manifest: pd.DataFrame
    policy: Mapping[str, Any]
    compute: ComputeParams
    batch: int
    weight_N: Tensor  # of the training images, balanced where that is wanted
    balance: Balance

    def fresh(self) -> Backbone:
        """The backbone as it came, once more."""
        return replace(self.backbone, module=copy.deepcopy(self.backbone.module))

    def rows(self, split: Split) -> pd.DataFrame:
        """The usable images of a split."""
        return of_split(self.manifest, split)

    def truth(self, rows: pd.DataFrame) -> Tensor:
        """What is known of these rows: nothing of unlabelled ones."""
        y = self.bench.goal.truth(rows)
        unknown_N = torch.tensor((rows[Column.SPLIT] == Split.UNLABELLED).to_numpy())
        y[unknown_N] = without(y[unknown_N])
        return y

    def batches(
        self,
        rows: pd.DataFrame,
        y: Tensor | None = None,
        weight_N: Tensor | None = None,
        size: int = 0,
        answers: Answers | None = None,
    ) -> Batches:
        """Batches of these rows, each counting the same unless weighted; `size` 0 is that of a forward pass."""
        given = (self.truth(rows) if y is None else y, torch.ones(len(rows)) if weight_N is None else weight_N)
        sizes = (size or self.compute.batch, self.compute.memory / 4)
        common = (self.backbone.preprocessing, self.bench.device)
        return batches(self.paths.raw, rows, *given, *common, *sizes, answers=answers)

    def draws(self, rows: pd.DataFrame, policy: Mapping[str, Any] | None = None) -> Tensor:
        """The views of these rows, (N, V, P): as planned for training images, or of another policy, drawn apart."""
        wanted, salt = (self.policy, "") if policy is None else (policy, "other ")
        pictures = zip(rows[Column.PATH], rows[Column.PIXEL_HASH], strict=True)
        return draws(plan(pictures, self.policy["views"], self.policy["seed"], wanted, salt), len(rows))


def prepare(
    paths: Paths,
    wanted: BackboneParams,
    compute: ComputeParams,
    batch: int,
    last: tuple[int, str],
    *,
    balance: Balance,
    key: object,
) -> Setting:
    """All that candidates share. `last` is how many blocks or layers learn; `key` what else checkpoints depend on."""
    sizes = (wanted.resize, wanted.crop)
    backbone = build(wanted.architecture, *read(paths.pretrained), *sizes, wanted.cut, wanted.letterbox)
    freeze_all_but_last(backbone.module, *last)
    device = choose(compute.device, compute.precision)
    if count() == 1:  # several must choose alike
        device = device_for(compute.device, compute.precision, backbone.module, backbone.preprocessing.crop)
    manifest = pd.read_parquet(paths.manifest)
    goal = Goal.of(usable(manifest))
    train, validation = of_split(manifest, Split.TRAIN), of_split(manifest, Split.VALIDATION)
    if (goal.targets or goal.several) and balance is not Balance.NONE:
        raise ParamsError("balance: it has a meaning for one class an image only; set it to none")
    y, weight_N, prior = goal.truth(train), relative(train), None
    if balance in {Balance.WEIGHTS, Balance.SAMPLING}:
        weight_N = balanced(weight_N, y, goal.outputs)
    elif balance is Balance.LOGITS:
        prior = log_prior(weight_N, y, goal.outputs)
    inputs = (paths.manifest, paths.plan, paths.policy, paths.head_weights, paths.pretrained, paths.teacher)
    eyes = (backbone.preprocessing, device)
    memory = compute.memory / 2
    policy = read_json(paths.policy)
    drawn = balance is Balance.SAMPLING
    truth = goal.truth(validation)
    bench = Bench(
        train=batches(paths.raw, train, y, weight_N, *eyes, batch, memory, drawn=drawn),
        validation=batches(paths.raw, validation, truth, weights_of(validation), *eyes, compute.batch, memory),
        draw_NVP=draws(pd.read_parquet(paths.plan), len(train)),
        style=style_of(policy),
        device=device,
        checkpoints=paths.checkpoints / digest_of(inputs, [key, device.facts()]),
        curves=paths.curves,
        goal=goal,
        measure=goal.measure(balance),
    )
    refuse_small_batches(bench)
    paths.finetune.mkdir(parents=True, exist_ok=True)
    if not rank():
        for file in (paths.curves, paths.teacher_head):
            file.unlink(missing_ok=True)
    head = read(paths.head_weights)[1]
    common = (manifest, policy, compute, batch, weight_N, balance)
    return Setting(paths, bench, backbone, head, prior, *common)


def relative(rows: pd.DataFrame) -> Tensor:
    """The rows' weights, (N,), with a mean of 1: unlabelled rows may come beside them, each of which counts as one."""
    weight_N = weights_of(rows)
    return weight_N / weight_N.mean()


def refuse_small_batches(bench: Bench) -> None:
    """Raises ParamsError if a process would get nothing of a batch."""
    for batches_, name in ((bench.train, "finetune.batch"), (bench.validation, "compute.batch")):
        least = batches_.pictures // len(batches_)
        if least < count():
            raise ParamsError(
                f"finetune.processes: {count()} processes for batches of {least} pictures; take fewer, or raise {name}"
            )
