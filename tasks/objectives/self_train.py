"""The lessons of confident answers on unlabelled images (article, 3.2 and 4.1), each audited.

Shapes: N rows, U unlabelled, V validation rows, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
import torch
from torch import Tensor

from tasks.core.errors import DataRefusedError
from tasks.core.progress import say
from tasks.core.schema import Balance, Column, Split
from tasks.core.sections import Methods, TeacherParams
from tasks.data.splits import unit_hash
from tasks.images.transforms import CLEAN, DRAW, Style
from tasks.metrics.calibration import temperature
from tasks.objectives.context import Setting, relative
from tasks.objectives.distil import teacher_of
from tasks.objectives.label_propagation import propagate
from tasks.objectives.losses.fixmatch import FixMatch
from tasks.objectives.losses.pseudo_labels import Audit, accept, audit
from tasks.objectives.teacher import Answering
from tasks.scorer.scorer import Network
from tasks.training.class_balance import balanced, log_prior
from tasks.training.loop import outputs
from tasks.training.mixed_batches import Mixed, Viewed
from tasks.training.trainer import Bench, Lesson


def pseudo_label(setting: Setting, methods: Methods, network: Network, base: Lesson) -> tuple[Bench, Lesson]:
    """Confident answers of the teacher, of the network as it is, or of neighbours are labels from then on."""
    section, bench = methods.unlabelled, setting.bench
    unlabelled, train = setting.rows(Split.UNLABELLED), setting.rows(Split.TRAIN)
    logits_NC, known = first_answers(setting, methods, network), bench.validation.pictures
    logits_VC, logits_UC = logits_NC[:known], logits_NC[known:]
    fitted = fitted_temperature(setting, logits_VC)
    found = audited(setting, (logits_VC / fitted).softmax(1), section.threshold)
    refuse_unaudited(found, section.precision)
    p_UC = (logits_UC / fitted).softmax(1).numpy()
    taken_U = accept(p_UC, section.threshold, section.quota)
    say(
        f"{taken_U.sum()} of {len(taken_U)} unlabelled images are labelled; of {found.accepted} such answers on "
        f"held-out labelled images {found.precision:.1%} are right"
    )
    rows = pd.concat([train, unlabelled[taken_U]], ignore_index=True)
    y_N = torch.cat([bench.goal.truth(train), torch.from_numpy(p_UC.argmax(1)[taken_U])])
    weight_N = torch.cat([relative(train), torch.full((int(taken_U.sum()),), section.weight)])
    objective = base.objective
    if setting.balance is Balance.WEIGHTS:
        weight_N = balanced(weight_N, y_N, bench.goal.outputs)
    elif setting.balance is Balance.LOGITS:
        objective = bench.goal.objective(base.smoothing, log_prior(weight_N, y_N, bench.goal.outputs))
    weight_N = weight_N / weight_N.mean()
    taught = replace(
        bench,
        train=setting.batches(rows, y_N, weight_N, setting.batch),
        draw_NVP=setting.draws(rows),
    )
    told = {"pseudo_labels": float(taken_U.sum()), "audited_precision": found.precision}
    return taught, replace(base, objective=objective, finish=lambda _network: told)


def first_answers(setting: Setting, methods: Methods, network: Network) -> Tensor:
    """Logits for validation and then unlabelled pictures as they are, (V + U, C): the model's, or of its neighbours."""
    asked = [setting.rows(split) for split in (Split.VALIDATION, Split.UNLABELLED)]
    neighbours, classes = methods.unlabelled.neighbours, setting.bench.goal.outputs
    if not neighbours:
        return model_answers(setting, methods.teacher, network, pd.concat(asked), features=False)
    train = setting.rows(Split.TRAIN)
    rows = pd.concat([train, *asked])
    x_ND = model_answers(setting, methods.teacher, network, rows, features=True)[:, classes:]
    label_N = torch.full((len(rows),), -1)
    label_N[: len(train)] = setting.bench.goal.truth(train)
    p_NC = propagate(x_ND.numpy(), label_N.numpy(), classes, neighbours)
    return torch.from_numpy(p_NC).log().float()[len(train) :]


def model_answers(
    setting: Setting, wanted: TeacherParams, network: Network, rows: pd.DataFrame, *, features: bool
) -> Tensor:
    """What the teacher says, or the network where there is none; with features, (N, C + E), where they are wanted."""
    if wanted.weights is None:
        asked = setting.bench.device.place(Answering(network, features=features))
        return outputs(asked, setting.batches(rows).clean(), setting.bench.device)[0].cpu()
    clean = rows.assign(**dict(zip(DRAW, CLEAN, strict=True)))
    common = (setting.paths.feature_store, setting.bench.device, Style(), setting.compute.batch)
    return teacher_of(setting, wanted).answers(setting.paths.raw, clean, *common, features=features)


def fixmatch(setting: Setting, methods: Methods, base: Lesson) -> tuple[Bench, Lesson]:
    """What the network is sure of under a weak view is the label of a strong one; audited before each epoch."""
    section, bench = methods.unlabelled, setting.bench
    objective = FixMatch(base.objective, bench.goal.outputs, section.threshold, section.weight)
    unlabelled, validation = (setting.batches(setting.rows(split)) for split in (Split.UNLABELLED, Split.VALIDATION))
    y_N = bench.goal.truth(setting.rows(Split.TRAIN))
    prior_C = torch.bincount(y_N, minlength=bench.goal.outputs) / len(y_N)

    def audit_now(network: Network) -> Audit:
        logits_VC, _ = outputs(network, validation.clean(), bench.device)
        objective.temperature = fitted_temperature(setting, logits_VC)
        if section.adaptive or section.align:
            logits_UC, _ = outputs(network, unlabelled.clean(), bench.device)
            if section.align:
                objective.align(logits_UC.cpu(), prior_C)
            if section.adaptive:
                objective.adapt(objective.answers(logits_UC.cpu()))
        found = audited(setting, objective.answers(logits_VC), objective.threshold_C.tolist())
        refuse_unaudited(found, section.precision)
        return found

    def begin(_epoch: int, network: Network) -> None:
        found = audit_now(network)
        say(f"of {found.accepted} trusted answers on held-out labelled images {found.precision:.1%} are right")

    def finish(network: Network) -> dict[str, float]:
        return {"audited_precision": audit_now(network).precision}

    lesson = replace(
        base, objective=objective, train=mixed(setting, methods, strong=True), begin=begin, finish=finish, cache=0
    )
    return bench, lesson


def held_out(setting: Setting) -> Tensor:
    """Which validation images answers are audited on, (V,); on the others they are calibrated."""
    pixels_V = setting.rows(Split.VALIDATION)[Column.PIXEL_HASH]
    return torch.tensor([unit_hash(f"audit:{pixels}") < 0.5 for pixels in pixels_V])


def fitted_temperature(setting: Setting, logits_VC: Tensor) -> float:
    """A temperature, from validation images that no answer is audited on; 1 where there are none."""
    mine_V, y_V = ~held_out(setting), setting.bench.goal.truth(setting.rows(Split.VALIDATION))
    if not bool(mine_V.any()):
        return 1.0
    return temperature(logits_VC[mine_V].cpu().float(), y_V[mine_V], cautious=True)


def audited(setting: Setting, p_VC: Tensor, threshold: float | Sequence[float]) -> Audit:
    """How right trusted answers are on held-out validation images."""
    held_V, y_V = held_out(setting), setting.bench.goal.truth(setting.rows(Split.VALIDATION))
    return audit(p_VC.cpu()[held_V].numpy(), y_V[held_V].numpy(), threshold)


def refuse_unaudited(found: Audit, precision: float) -> None:
    """Raises DataRefusedError if trusted answers are wrong too often, or none could be checked."""
    if not found.accepted:
        raise DataRefusedError(
            "objective: no answer on held-out labelled images is trusted, so none can be audited; lower "
            "unlabelled.threshold, or label more images for validation"
        )
    if found.precision < precision:
        raise DataRefusedError(
            f"objective: trusted answers are right for too few held-out labelled images: {found.precision:.1%} of "
            f"{found.accepted}, wanted {precision:.0%} (unlabelled.precision); raise unlabelled.threshold, or label "
            "more images"
        )


def mixed(setting: Setting, methods: Methods, strong: bool) -> Mixed:
    """Labelled and unlabelled images together; with a strong view of the latter where one is wanted."""
    section, bench, unlabelled = methods.unlabelled, setting.bench, setting.rows(Split.UNLABELLED)
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
