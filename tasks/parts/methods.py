"""How each objective becomes a lesson: its loss, its batches, and which epoch is kept.

Shapes: N rows, U unlabelled, V validation rows, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from tasks.parts.bench import Bench, Lesson, weights_of
from tasks.parts.errors import DataRefusedError, ParamsError
from tasks.parts.fit import Objective as Loss
from tasks.parts.fit import Scored, outputs, score
from tasks.parts.fit_state import Row
from tasks.parts.freezing import BATCH_NORMS
from tasks.parts.learning import Methods
from tasks.parts.metrics import temperature
from tasks.parts.names import Column, Curve, Split
from tasks.parts.objectives.adversarial import FAST, Attack, adversarial, trades
from tasks.parts.objectives.coral import coral
from tasks.parts.objectives.dann import Dann
from tasks.parts.objectives.distillation import Distillation
from tasks.parts.objectives.fixmatch import FixMatch
from tasks.parts.objectives.mcc import mcc
from tasks.parts.objectives.pseudo_labels import Audit, accept, audit
from tasks.parts.params import Objective, TeacherParams
from tasks.parts.processes import count
from tasks.parts.progress import say
from tasks.parts.scorer import Network
from tasks.parts.selection import VALIDATORS
from tasks.parts.setting import Setting
from tasks.parts.splits import unit_hash
from tasks.parts.teacher import Teacher, with_head
from tasks.parts.transforms import CLEAN, DRAW, Style
from tasks.parts.unlabelled import Mixed, Viewed

SELF = {Objective.PSEUDO_LABELS, Objective.FIXMATCH}
DOMAIN = {Objective.BATCHNORM, Objective.CORAL, Objective.DANN, Objective.MCC}
ADVERSARIAL = {Objective.PGD, Objective.FAST, Objective.TRADES}
CLASSES_ONLY = {*SELF, Objective.MCC, Objective.TRADES}


def refuse(setting: Setting, objective: Objective, mixed: bool) -> None:
    """Raises ParamsError for what has no meaning together."""
    goal = setting.bench.goal
    what = "targets" if goal.targets else "several labels" if goal.several else ""
    if what and objective in CLASSES_ONLY:
        raise ParamsError(f"objective: {objective} has no meaning for {what}: it needs one class an image")
    if goal.several and objective in DOMAIN:
        raise ParamsError(f"objective: {objective} knows one class an image, or targets; take distillation or labels")
    if objective is Objective.LABELS:
        return
    if mixed:
        raise ParamsError(f"finetune.mixup, finetune.cutmix: {objective} takes pictures as they are; set both to 0")
    if count() > 1:
        raise ParamsError(f"finetune.processes: {objective} takes whole batches; set it to 1")


def lesson_of(
    setting: Setting,
    objective: Objective,
    methods: Methods,
    teacher: TeacherParams,
    network: Network,
    base: Lesson,
    epochs: int,
    weight: float,
) -> tuple[Bench, Lesson]:
    """The bench and the lesson of an objective; `base` is that on labels, `weight` that of the adaptation's loss.

    Raises ParamsError for what is missing, and DataRefusedError for labels that fail their audit.
    """
    if objective is Objective.DISTILLATION:
        return distil(setting, methods, teacher, base)
    if objective is Objective.PSEUDO_LABELS:
        return pseudo_label(setting, methods, teacher, network, base)
    if objective is Objective.FIXMATCH:
        return setting.bench, fixmatch(setting, methods, base)
    if objective in DOMAIN:
        return setting.bench, adapt(setting, methods, objective, base, epochs, weight)
    if objective in ADVERSARIAL:
        return setting.bench, defend(setting, methods, objective, base)
    return setting.bench, base


def teacher_of(setting: Setting, wanted: TeacherParams) -> Teacher:
    """The big model, with a head fitted on the labels where it came without one."""
    paths, bench = setting.paths, setting.bench
    rows = (setting.rows(Split.TRAIN), setting.rows(Split.VALIDATION))
    return with_head(
        paths.teacher, wanted, bench.goal, paths.teacher_head, paths.raw, *rows, bench.device, setting.compute.batch
    )


def distil(setting: Setting, methods: Methods, wanted: TeacherParams, base: Lesson) -> tuple[Bench, Lesson]:
    """Learn the teacher's answers on labelled and unlabelled images, until the two agree and are as good."""
    section, bench, goal = methods.distillation, setting.bench, setting.bench.goal
    teacher = teacher_of(setting, wanted)
    objective = Distillation(
        "targets" if goal.targets else "labels" if goal.several else "classes",
        goal.outputs,
        base.objective,
        temperature=section.temperature,
        labels=section.labels,
        features=section.features,
        widths=(setting.backbone.width, teacher.width),
        spread_K=goal.spread_K,
    )
    train, validation = setting.rows(Split.TRAIN), setting.rows(Split.VALIDATION)
    rows = pd.concat([train, setting.rows(Split.UNLABELLED)], ignore_index=True)
    draw_NVP = setting.draws(rows)

    def told(of: pd.DataFrame, draw_NP: Tensor, style: Style) -> Tensor:
        drawn = of.assign(**dict(zip(DRAW, draw_NP.double().round(decimals=6).T.numpy(), strict=True)))
        common = (setting.paths.feature_store, bench.device, style, setting.compute.batch)
        return teacher.answers(setting.paths.raw, drawn, *common, features=bool(section.features))

    @cache
    def of_view(view: int) -> Tensor:
        say(f"the teacher answers for view {view + 1}")
        return told(rows, draw_NVP[:, view], bench.style)

    answers = told(validation, torch.tensor([CLEAN]).expand(len(validation), -1), Style())
    taught = replace(
        bench,
        train=setting.batches(rows, size=setting.batch, answers=of_view),
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


def with_helper(lesson: Lesson, helper: torch.nn.Module | None) -> Lesson:
    """The lesson with a module that learns at the head's rate and is left behind."""
    if helper is None:
        return lesson
    return replace(
        lesson,
        helper=helper,
        groups=[*lesson.groups, {"params": list(helper.parameters()), "rate": lesson.groups[0]["rate"]}],
    )


def audited(setting: Setting, logits_VC: Tensor, threshold: Any) -> tuple[float, Audit]:  # noqa: ANN401 - one or many
    """A temperature from one half of the validation images, and on the other half how right trusted answers are."""
    rows = setting.rows(Split.VALIDATION)
    y_V = setting.bench.goal.truth(rows)
    held_V = torch.tensor([unit_hash(f"audit:{pixels}") < 0.5 for pixels in rows[Column.PIXEL_HASH]])
    logits_VC = logits_VC.cpu().float()
    calibrated = temperature(logits_VC[~held_V], y_V[~held_V]) if bool((~held_V).any()) else 1.0
    p_VC = (logits_VC[held_V] / calibrated).softmax(1).numpy()
    return calibrated, audit(p_VC, y_V[held_V].numpy(), threshold)


def refuse_unaudited(found: Audit, precision: float) -> None:
    """Raises DataRefusedError if trusted answers are wrong too often, or none could be checked."""
    if not found.accepted or found.precision < precision:
        told = f"{found.precision:.1%} of {found.accepted}" if found.accepted else "none of them was trusted"
        raise DataRefusedError(
            f"objective: trusted answers are right for too few held-out labelled images: {told}, wanted "
            f"{precision:.0%} (unlabelled.precision); raise unlabelled.threshold, or label more images"
        )


def pseudo_label(
    setting: Setting, methods: Methods, wanted: TeacherParams, network: Network, base: Lesson
) -> tuple[Bench, Lesson]:
    """Confident answers of the teacher, or of the probe where there is none, are labels from then on."""
    section, bench = methods.unlabelled, setting.bench
    unlabelled, validation, train = setting.unlabelled(), setting.rows(Split.VALIDATION), setting.rows(Split.TRAIN)
    logits_VC, logits_UC = (first_answers(setting, wanted, network, rows) for rows in (validation, unlabelled))
    calibrated, found = audited(setting, logits_VC, section.threshold)
    refuse_unaudited(found, section.precision)
    p_UC = (logits_UC / calibrated).softmax(1).numpy()
    taken_U = accept(p_UC, section.threshold, section.quota)
    say(
        f"{taken_U.sum()} of {len(taken_U)} unlabelled images are labelled; of {found.accepted} such answers on "
        f"held-out labelled images {found.precision:.1%} are right"
    )
    rows = pd.concat([train, unlabelled[taken_U]], ignore_index=True)
    y_N = torch.cat([bench.goal.truth(train), torch.from_numpy(p_UC.argmax(1)[taken_U])])
    weight_N = torch.cat([weights_of(train), torch.full((int(taken_U.sum()),), section.weight)])
    taught = replace(bench, train=setting.batches(rows, y_N, weight_N, setting.batch), draw_NVP=setting.draws(rows))
    told = {"pseudo_labels": float(taken_U.sum()), "audited_precision": found.precision}
    return taught, replace(base, finish=lambda _network: told)


def first_answers(setting: Setting, wanted: TeacherParams, network: Network, rows: pd.DataFrame) -> Tensor:
    """Logits of the teacher, or of the probe where there is none, for pictures as they are."""
    if wanted.weights is None:
        setting.bench.device.place(network)
        return outputs(network, setting.batches(rows).clean(), setting.bench.device)[0].cpu()
    clean = rows.assign(**dict(zip(DRAW, CLEAN, strict=True)))
    common = (setting.paths.feature_store, setting.bench.device, Style(), setting.compute.batch)
    return teacher_of(setting, wanted).answers(setting.paths.raw, clean, *common, features=False)


def mixed(setting: Setting, methods: Methods, strong: bool) -> Mixed:
    """Labelled and unlabelled images together; with a strong view of the latter where one is wanted."""
    section, bench, unlabelled = methods.unlabelled, setting.bench, setting.unlabelled()
    of_all = setting.batches(unlabelled)
    second = None
    if strong:
        policy = {**setting.policy, "automatic": section.strong, "erase": 1.0}
        most = {"shift": 0.5, "scale": 0.5, "rotation": 180.0, "colour": 0.9}
        policy |= {name: min(section.stronger * setting.policy[name], limit) for name, limit in most.items()}
        second = Viewed(of_all, setting.draws(unlabelled, policy), Style(bench.style.fill, section.strong))
    labelled = Viewed(bench.train, bench.draw_NVP, bench.style)
    weak = Viewed(of_all, setting.draws(unlabelled), bench.style)
    return Mixed(labelled, weak, second, setting.batch, section.ratio, int(setting.policy["seed"]))


def fixmatch(setting: Setting, methods: Methods, base: Lesson) -> Lesson:
    """What the network is sure of under a weak view is the label of a strong one; audited before each epoch."""
    section, bench = methods.unlabelled, setting.bench
    objective = FixMatch(base.objective, bench.goal.outputs, section.threshold, section.weight)
    unlabelled, validation = setting.batches(setting.unlabelled()), setting.batches(setting.rows(Split.VALIDATION))

    def audit_now(network: Network) -> Audit:
        logits_VC, _ = outputs(network, validation.clean(), bench.device)
        objective.temperature, _ = audited(setting, logits_VC, section.threshold)
        if section.adaptive:
            logits_UC, _ = outputs(network, unlabelled.clean(), bench.device)
            objective.adapt((logits_UC.cpu() / objective.temperature).softmax(1))
        found = audited(setting, logits_VC, objective.threshold_C.tolist())[1]
        refuse_unaudited(found, section.precision)
        return found

    def begin(_epoch: int, network: Network) -> None:
        found = audit_now(network)
        say(f"of {found.accepted} trusted answers on held-out labelled images {found.precision:.1%} are right")

    def finish(network: Network) -> dict[str, float]:
        return {"audited_precision": audit_now(network).precision}

    return replace(
        base, objective=objective, train=mixed(setting, methods, strong=True), begin=begin, finish=finish, cache=0
    )


def adapt(setting: Setting, methods: Methods, objective: Objective, base: Lesson, epochs: int, weight: float) -> Lesson:
    """A labelled domain's lesson, adapted to the unlabelled one; the epoch is chosen without that one's labels."""
    bench, goal, unlabelled = setting.bench, setting.bench.goal, setting.unlabelled()
    target, source = setting.batches(unlabelled), setting.batches(setting.rows(Split.VALIDATION))
    looked_at = setting.batches(setting.rows(Split.TEST)) if methods.domain.oracle else None

    def validate(network: Network) -> Scored:
        loss, known, *_ = score(network, source.clean(), bench.device, goal.measure())
        if not goal.targets:
            loss = -VALIDATORS[methods.domain.chosen_by](outputs(network, target.clean(), bench.device)[0])
        more = {}
        if looked_at:
            more[Curve.TARGET_SCORE.value] = score(network, looked_at.clean(), bench.device, goal.measure())[1]
        return loss, known, more

    if objective is Objective.BATCHNORM:

        def finish(network: Network) -> dict[str, float]:
            return reestimated(setting, network, unlabelled)

        return replace(base, finish=finish)
    lesson = replace(base, train=mixed(setting, methods, strong=False), validate=validate, cache=0)
    if objective is Objective.DANN:
        dann = Dann(base.objective, setting.backbone.width, weight)
        lesson = with_helper(lesson, dann.critic)
        return replace(lesson, objective=dann, begin=lambda epoch, _network: dann.begin(epoch, epochs))
    return replace(lesson, objective=(coral if objective is Objective.CORAL else mcc)(base.objective, weight))


def reestimated(setting: Setting, network: Network, rows: pd.DataFrame) -> dict[str, float]:
    """BatchNorm's statistics become those of these images, their plain mean (Li et al., "AdaBN", 2018).

    Raises ParamsError for a network without BatchNorm.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, BATCH_NORMS)]
    if not layers:
        raise ParamsError(
            "objective: batchnorm re-estimates statistics that this architecture has not; take coral or mcc"
        )
    network.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
        layer.train()
    with torch.no_grad():
        for x_N3SS, *_ in setting.batches(rows).clean():
            network(x_N3SS)
    network.eval()
    return {"batchnorm_layers": float(len(layers))}


def defend(setting: Setting, methods: Methods, objective: Objective, base: Lesson) -> Lesson:
    """Learn on pictures that an adversary changed; an epoch that loses too much without one is not kept."""
    section, bench = methods.adversaries, setting.bench
    pictures = setting.backbone.preprocessing
    attack = Attack(section.norm, section.radius, section.steps, pictures.mean, pictures.std)
    loss = adversarial(base.objective, attack)
    if objective is Objective.TRADES:
        loss = trades(base.objective, attack, section.beta)
    elif objective is Objective.FAST:
        one = replace(attack, steps=1, step=FAST * section.radius)
        loss = adversarial(base.objective, one)

    def validate(network: Network) -> Scored:
        clean = score(network, bench.validation.clean(), bench.device, bench.measure)
        found = under_attack(network, bench, attack, base.objective)
        return found[0], found[1], {Curve.CLEAN_SCORE.value: clean[1]}

    def eligible(curve: Sequence[Row]) -> bool:
        return curve[-1][Curve.CLEAN_SCORE] >= curve[0][Curve.CLEAN_SCORE] - section.clean

    return replace(base, objective=loss, validate=validate, eligible=eligible, cache=0)


def _loss(own: Loss, x_N3SS: Tensor, y: Tensor) -> Callable[[Tensor], Tensor]:
    """The loss of outputs."""
    return lambda output: own(lambda _: output, x_N3SS, y)


def under_attack(network: Network, bench: Bench, attack: Attack, own: Loss) -> Scored:
    """Loss and score on the validation images, each changed for the worse; the same changes each time."""
    with torch.random.fork_rng(devices=[bench.device.device] if bench.device.is_cuda else []):
        torch.manual_seed(0)
        found = []
        network.eval()
        for x_N3SS, y, *_ in bench.validation.clean():
            with bench.device.autocast():
                changed = attack(network, x_N3SS, _loss(own, x_N3SS, y))
            found.append((changed, y))
    return score(network, found, bench.device, bench.measure)
