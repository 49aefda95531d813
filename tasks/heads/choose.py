"""Fits the heads to choose from, one for each setting. Shapes: N rows, D features, C classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from tasks.core.errors import ParamsError
from tasks.core.schema import Balance, Column, Split
from tasks.core.sections import HeadSection
from tasks.core.target import TargetSpec
from tasks.heads.kinds import (
    CAN_START_FROM_EARLIER,
    SUPPORTED_HEADS,
    LinearFit,
    fit_linear,
    head_loss,
    head_measure,
    standardize,
)
from tasks.heads.linear import Probe, Rows, Train, linear
from tasks.heads.nonlinear import Dense, fit_dense
from tasks.heads.nonparametric import fit_neighbors, fit_prototypes
from tasks.models.partial_loading import EARLIER
from tasks.training.class_balance import balanced, log_prior
from tasks.training.kinds import check_balance_supported

LEARNED = {"linear", "dense"}  # heads whose weights are learned


@dataclass(frozen=True)
class EarlierModel:
    """The weights file that the backbone came from: its tensors, and what it says of itself."""

    state: Mapping[str, Tensor]
    description: Mapping[str, Any]


@dataclass(frozen=True)
class HeadProblem:
    """Rows to fit on and to choose on, what is predicted, and how classes are balanced."""

    train: Train
    validation: Rows
    target: TargetSpec
    balance: Balance
    log_prior_C: Tensor | None
    seed: int


def choose_head(
    index: pd.DataFrame,
    x_ND: Tensor,
    target: TargetSpec,
    section: HeadSection,
    balance: Balance,
    seed: int,
    earlier: EarlierModel,
) -> list[Probe]:
    """Fits heads of the kind that `section` asks for, one a setting, on the rows of the index.

    Raises ParamsError for a combination that is not supported.
    """
    check_head_supported(section, target, balance)
    problem = _problem(index, x_ND, target, balance, seed)
    return FITTERS[section.kind](problem, section, earlier)


def _problem(index: pd.DataFrame, x_ND: Tensor, target: TargetSpec, balance: Balance, seed: int) -> HeadProblem:
    y = standardize(torch.from_numpy(target.encode(index)), target)
    is_train, is_validation = (
        torch.tensor((index[Column.SPLIT] == split).to_numpy()) for split in (Split.TRAIN, Split.VALIDATION)
    )
    weight_N = torch.tensor(index[Column.WEIGHT].to_numpy())[is_train]
    prior = log_prior(weight_N, y[is_train], target.num_outputs) if balance is Balance.LOGITS else None
    if balance in {Balance.WEIGHTS, Balance.SAMPLING}:  # the same where all rows are seen at once
        weight_N = balanced(weight_N, y[is_train], target.num_outputs)
    train, validation = (x_ND[is_train], y[is_train], weight_N), (x_ND[is_validation], y[is_validation])
    return HeadProblem(train, validation, target, balance, prior, seed)


def _linear(problem: HeadProblem, section: HeadSection, earlier: EarlierModel) -> list[Probe]:
    width = problem.train[0].shape[1]
    start = head_of(earlier, problem.target.classes, width) if section.start == "earlier" else None
    fit = LinearFit(problem.target, section.strengths, start, problem.log_prior_C, problem.balance)
    return fit_linear(problem.train, problem.validation, fit)


def _dense(problem: HeadProblem, section: HeadSection, earlier: EarlierModel) -> list[Probe]:
    del earlier
    dense = Dense(
        widths=(*section.grow, section.hidden),
        l2_penalties=section.strengths,
        lr=section.rate,
        epochs=section.epochs,
        batch=section.batch,
        seed=problem.seed,
        loss=head_loss(problem.target, problem.log_prior_C),
        measure=head_measure(problem.target, problem.balance),
    )
    return fit_dense(problem.train, problem.validation, problem.target.num_outputs, dense)


def _prototypes(problem: HeadProblem, section: HeadSection, earlier: EarlierModel) -> list[Probe]:
    del section, earlier
    return fit_prototypes(problem.train, problem.validation, problem.target.num_outputs)


def _neighbors(problem: HeadProblem, section: HeadSection, earlier: EarlierModel) -> list[Probe]:
    del earlier
    return fit_neighbors(problem.train, problem.validation, problem.target.num_outputs, section.neighbours)


FITTERS: Mapping[str, Callable[[HeadProblem, HeadSection, EarlierModel], list[Probe]]] = {
    "linear": _linear,
    "dense": _dense,
    "prototype": _prototypes,
    "knn": _neighbors,
}


def check_head_supported(section: HeadSection, target: TargetSpec, balance: Balance) -> None:
    """Raises ParamsError for a combination of head, problem type and balance that is not defined."""
    kind, grow, hidden = section.kind, section.grow, section.hidden
    if kind not in SUPPORTED_HEADS[target.kind]:
        raise ParamsError(f"head.kind: a {kind} head has no meaning for {target.summary}; take linear or dense")
    check_balance_supported(balance, target)
    if kind not in LEARNED and balance is not Balance.NONE:
        raise ParamsError(f"balance: a {kind} head learns nothing that could be balanced; set it to none")
    if section.start == "earlier" and (kind != "linear" or not CAN_START_FROM_EARLIER[target.kind]):
        raise ParamsError("head.start: only a linear head on classes can start from an earlier one; set it to zero")
    if grow and kind != "dense":
        raise ParamsError(f"head.grow: a {kind} head has no units to grow by; set it to []")
    if list(grow) != sorted({*grow, hidden} - {hidden}) or (grow and grow[-1] > hidden):
        raise ParamsError(f"head.grow: {list(grow)} must rise, up to less than head.hidden ({hidden})")


def head_of(earlier: EarlierModel, classes: Sequence[str], width: int) -> nn.Linear:
    """Returns the earlier model's rows for the classes that it has, and zeros for the others.

    Raises ParamsError if the weights file has no linear head for `width` features.
    """
    state = earlier.state
    if not {f"{EARLIER}weight", f"{EARLIER}bias"} <= state.keys() or "classes" not in earlier.description:
        raise ParamsError(
            "head.start: backbone.weights brings no linear head to start from; name an earlier model, such as "
            "models:/rootstock@live, or set head.start to zero"
        )
    if state[f"{EARLIER}weight"].shape[1] != width:
        raise ParamsError(
            f"head.start: the earlier head is for {state[f'{EARLIER}weight'].shape[1]} features, this backbone gives "
            f"{width}; take the earlier model's own architecture and backbone.cut, or set head.start to zero"
        )
    place = {name: row for row, name in enumerate(earlier.description["classes"])}
    weight_CD, bias_C = (state[f"{EARLIER}{name}"].float() for name in ("weight", "bias"))
    rows = [place.get(name) for name in classes]
    return linear(
        torch.stack([torch.zeros_like(weight_CD[0]) if row is None else weight_CD[row] for row in rows]),
        torch.stack([torch.zeros_like(bias_C[0]) if row is None else bias_C[row] for row in rows]),
    )


def settings_of(chosen: Probe, kind: str) -> dict[str, int]:
    """Returns the settings that build the head again."""
    if kind == "dense":
        return {"hidden": len(chosen.head.state_dict()["0.bias"])}
    if kind == "knn":
        rows = len(chosen.head.state_dict()["keys_RD"])
        return {"rows": rows, "neighbours": min(int(chosen.setting), rows)}
    return {}
