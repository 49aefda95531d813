"""Plans distillation from a teacher's outputs (article, 2.2).

Shapes: N rows, C outputs, A columns of the teacher's outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from tasks.core.objective_sections import ObjectiveParams, TeacherParams
from tasks.core.progress import say
from tasks.core.schema import Column, Curve, Split
from tasks.embedding.spreading import extract
from tasks.images.transforms import RenderStyle
from tasks.images.views import Draw, draw_clean
from tasks.models.weights_file import write
from tasks.objectives.context import TrainingContext
from tasks.objectives.data import ImageLoader, weights_of
from tasks.objectives.losses.distillation import Distillation, DistillationWeights
from tasks.objectives.teacher import Teacher, with_head
from tasks.objectives.teacher_head import fit_head
from tasks.objectives.teacher_loading import TeacherFile
from tasks.training.callbacks import Callback
from tasks.training.kinds import measure_for
from tasks.training.plan import TrainingPlan
from tasks.training.trainer import Trainer
from tasks.training.types import Row


@dataclass(frozen=True)
class Agreement(Callback):
    """Ends the fit once student and teacher agree often enough and the student's score is close to the teacher's."""

    min_agreement: float
    margin: float

    def should_stop(self, rows: Sequence[Row]) -> bool:
        """Returns whether the agreement and the score in the last row are high enough."""
        last = rows[-1]
        as_good = last[Curve.VALIDATION_SCORE] >= last[Curve.TEACHER_SCORE] - self.margin
        return as_good and last[Curve.AGREEMENT] >= self.min_agreement


def distil(context: TrainingContext, methods: ObjectiveParams, base: TrainingPlan) -> tuple[Trainer, TrainingPlan]:
    """Plans a fit to the teacher's outputs on labeled and unlabeled images, with early stopping by `Agreement`."""
    section, data, trainer = methods.distillation, context.data, context.trainer
    teacher = teacher_of(context, methods.teacher)
    train, validation = data.rows(Split.TRAIN), data.rows(Split.VALIDATION)
    rows = pd.concat([train, data.rows(Split.UNLABELED)], ignore_index=True)
    weights = DistillationWeights(section.temperature, section.labels, len(train) / len(rows), section.features)
    loss = Distillation(data.target, base.loss, weights, (context.backbone.width, teacher.width))
    weight_N = torch.cat([data.weight_N, torch.ones(len(rows) - len(train))])
    views = data.views(rows)
    store = context.files.feature_store
    answer = partial(teacher_outputs, context.loader, store, teacher, features=bool(section.features))

    @lru_cache(maxsize=1)  # keeps the current epoch's view
    def of_view(view: int) -> Tensor:
        say(f"computing the teacher's outputs for view {view}")
        return answer(rows, partial(views.draw, view=view), trainer.style)

    on_validation = answer(validation, draw_clean, RenderStyle())
    batches = context.loader.batches
    student = replace(
        trainer,
        train=batches(rows, data.encode(rows), weight_N, context.batch, teacher=of_view),
        validation=batches(validation, data.encode(validation), teacher=lambda _: on_validation),
        views=views,
        scoring=loss.scoring(measure_for(data.target)),
    )
    stop = Agreement(section.agreement, section.margin)
    plan = base.with_auxiliary(loss.map)
    return student, replace(plan, loss=loss, callbacks=(*plan.callbacks, stop))


def teacher_outputs(
    loader: ImageLoader,
    store: Path,
    teacher: Teacher,
    rows: pd.DataFrame,
    draw: Draw,
    style: RenderStyle,
    *,
    features: bool,
) -> Tensor:
    """Returns the teacher's columns, (N, A), for views of the rows; stored outputs are not recomputed."""
    return teacher.outputs(loader.root, rows, draw, store, loader.device, style, loader.batch, features=features)


def teacher_of(context: TrainingContext, params: TeacherParams) -> Teacher:
    """Loads the teacher. If it has no head, fits a linear head on its features, which is saved with the student."""
    paths, data, loader = context.files, context.data, context.loader
    teacher, head = paths.teacher.absolute(), paths.teacher_head.absolute()
    file = TeacherFile(teacher, params, data.target, head, loader.preprocessing)
    loaded = file.read()
    if isinstance(loaded, Teacher):
        return loaded
    train, validation = data.rows(Split.TRAIN), data.rows(Split.VALIDATION)
    rows = pd.concat([train, validation])
    x_ND = extract(paths.raw, list(rows[Column.PATH]), loaded.folded(), loader.device, RenderStyle(), loader.batch)
    y = torch.from_numpy(data.target.encode(rows))
    count = len(train)
    fitted = fit_head((x_ND[:count], y[:count], weights_of(train)), (x_ND[count:], y[count:]), data.target)
    write(paths.teacher_head, fitted.head.state_dict(), fitted.settings)
    state = fitted.head.state_dict()
    return file.reloadable(with_head(loaded, state, fitted.settings, data.target, paths.teacher))
