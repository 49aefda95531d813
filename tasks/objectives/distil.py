"""The lesson of a big model's answers (article, 2.2).

Shapes: N rows, C outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tasks.core.progress import say
from tasks.core.schema import Curve, Split
from tasks.core.sections import Methods, TeacherParams
from tasks.embedding.extract import extract
from tasks.images.transforms import CLEAN, DRAW, Style
from tasks.models.weights_file import write
from tasks.objectives.context import Setting
from tasks.objectives.losses.distillation import Distillation
from tasks.objectives.teacher import Teacher, fitted, headed, load
from tasks.training.state import Row
from tasks.training.trainer import Bench, Lesson, weights_of, with_helper


def distil(setting: Setting, methods: Methods, base: Lesson) -> tuple[Bench, Lesson]:
    """Learn the teacher's answers on labelled and unlabelled images, until the two agree and are as good."""
    section, bench, goal = methods.distillation, setting.bench, setting.bench.goal
    teacher = teacher_of(setting, methods.teacher)
    train, validation = setting.rows(Split.TRAIN), setting.rows(Split.VALIDATION)
    rows = pd.concat([train, setting.rows(Split.UNLABELLED)], ignore_index=True)
    objective = Distillation(
        "targets" if goal.targets else "labels" if goal.several else "classes",
        goal.outputs,
        base.objective,
        temperature=section.temperature,
        labels=section.labels,
        known=len(train) / len(rows),
        features=section.features,
        widths=(setting.backbone.width, teacher.width),
        spread_K=goal.spread_K,
    )
    weight_N = torch.cat([setting.weight_N, torch.ones(len(rows) - len(train))])
    draw_NVP = setting.draws(rows)

    def told(of: pd.DataFrame, draw_NP: Tensor, style: Style) -> Tensor:
        drawn = of.assign(**dict(zip(DRAW, draw_NP.double().round(decimals=6).T.numpy(), strict=True)))
        common = (setting.paths.feature_store, bench.device, style, setting.compute.batch)
        return teacher.answers(setting.paths.raw, drawn, *common, features=bool(section.features))

    @lru_cache(maxsize=1)  # the view whose turn it is
    def of_view(view: int) -> Tensor:
        say(f"the teacher answers for view {view + 1}")
        return told(rows, draw_NVP[:, view], bench.style)

    answers = told(validation, torch.tensor([CLEAN]).expand(len(validation), -1), Style())
    taught = replace(
        bench,
        train=setting.batches(rows, weight_N=weight_N, size=setting.batch, answers=of_view),
        validation=setting.batches(validation, answers=lambda _: answers),
        draw_NVP=draw_NVP,
        measure=objective.measure(goal.measure()),
    )

    def enough(curve: Sequence[Row]) -> bool:
        now = curve[-1]
        as_good = now[Curve.VALIDATION_SCORE] >= now[Curve.TEACHER_SCORE] - section.margin
        return as_good and now[Curve.AGREEMENT] >= section.agreement

    helped = with_helper(base, objective.map)
    return taught, replace(helped, objective=objective, enough=enough)


def teacher_of(setting: Setting, wanted: TeacherParams) -> Teacher:
    """The big model; where it came without a head, a linear one is fitted on its features and kept beside the tuned."""
    paths, bench = setting.paths, setting.bench
    goal, device = bench.goal, bench.device
    letterbox = setting.backbone.preprocessing.letterbox
    found = load(paths.teacher, wanted, goal, paths.teacher_head, letterbox=letterbox)
    if isinstance(found, Teacher):
        return found
    train, validation = setting.rows(Split.TRAIN), setting.rows(Split.VALIDATION)
    rows = pd.concat([train, validation]).assign(**dict(zip(DRAW, CLEAN, strict=True)))
    parts = extract(paths.raw, rows, found.folded(), device, Style(), setting.compute.batch)
    x_ND, y = torch.from_numpy(np.concatenate([part for _, part in parts])), goal.standardised(goal.truth(rows))
    count = len(train)
    learned, settings = fitted((x_ND[:count], y[:count], weights_of(train)), (x_ND[count:], y[count:]), goal)
    write(paths.teacher_head, learned.state_dict(), settings)
    return headed(found, learned.state_dict(), settings, goal, paths.teacher)
