"""Fits heads with several settings each, for selection on validation. Shapes: N rows, D features, C classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tasks.core.errors import ParamsError
from tasks.core.schema import Balance
from tasks.core.sections import HeadSection
from tasks.core.target import TargetSpec
from tasks.heads.embedded_rows import EmbeddedRows
from tasks.heads.kinds import (
    CAN_START_FROM_EARLIER,
    SUPPORTED_HEADS,
    LinearFit,
    fit_linear,
    head_loss,
    head_measure,
    standardize,
)
from tasks.heads.linear import CPU, Probe, Rows, Train, linear
from tasks.heads.nonlinear import Dense, fit_dense
from tasks.heads.nonparametric import fit_neighbors, fit_prototypes
from tasks.models.partial_loading import EARLIER
from tasks.training.class_balance import balance_weights, log_prior
from tasks.training.kinds import check_balance_supported

LEARNED = {"linear", "dense"}  # heads with trained weights


@dataclass(frozen=True)
class EarlierModel:
    """The tensors and the description of the weights file that the backbone was loaded from."""

    state: Mapping[str, Tensor]
    description: Mapping[str, Any]


@dataclass(frozen=True)
class HeadProblem:
    """Training and validation rows, the target, and the class balancing."""

    train: Train
    validation: Rows
    target: TargetSpec
    balance: Balance
    log_prior_C: Tensor | None
    seed: int
    device: torch.device


def choose_head(
    rows: EmbeddedRows,
    target: TargetSpec,
    section: HeadSection,
    balance: Balance,
    seed: int,
    earlier: EarlierModel,
    device: torch.device = CPU,
) -> list[Probe]:
    """Fits heads of kind `section.kind`, one per setting. Raises ParamsError for unsupported parameters."""
    check_head_supported(section, target, balance)
    problem = _problem(rows, target, balance, seed, device)
    return FITTERS[section.kind](problem, section, earlier)


def _problem(rows: EmbeddedRows, target: TargetSpec, balance: Balance, seed: int, device: torch.device) -> HeadProblem:
    x_ND, y, weight_N = rows.train
    y = standardize(y, target)
    prior = log_prior(weight_N, y, target.num_outputs) if balance is Balance.LOGITS else None
    if balance in {Balance.WEIGHTS, Balance.SAMPLING}:  # equivalent here, since every step uses all rows
        weight_N = balance_weights(weight_N, y, target.num_outputs)
    validation = (rows.validation[0], standardize(rows.validation[1], target))
    return HeadProblem((x_ND, y, weight_N), validation, target, balance, prior, seed, device)


def _linear(problem: HeadProblem, section: HeadSection, earlier: EarlierModel) -> list[Probe]:
    width = problem.train[0].shape[1]
    start = head_of(earlier, problem.target.classes, width) if section.start == "earlier" else None
    fit = LinearFit(problem.target, section.strengths, start, problem.log_prior_C, problem.balance, problem.device)
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
    """Raises ParamsError if head, problem type and balance are incompatible."""
    kind, grow, hidden = section.kind, section.grow, section.hidden
    if kind not in SUPPORTED_HEADS[target.kind]:
        raise ParamsError(
            f"head.kind: a {kind} head is not defined for {target.summary}; take linear or dense", key="head.kind"
        )
    check_balance_supported(balance, target)
    if kind not in LEARNED and balance is not Balance.NONE:
        raise ParamsError(f"balance: a {kind} head has no trained weights to balance; set it to none", key="balance")
    if section.start == "earlier" and (kind != "linear" or not CAN_START_FROM_EARLIER[target.kind]):
        raise ParamsError(
            "head.start: only a linear head on classes can start from an earlier one; set it to zero", key="head.start"
        )
    if grow and kind != "dense":
        raise ParamsError(f"head.grow: a {kind} head has no hidden units to add; set it to []", key="head.grow")
    if list(grow) != sorted({*grow, hidden} - {hidden}) or (grow and grow[-1] > hidden):
        raise ParamsError(
            f"head.grow: {list(grow)} must increase and stay below head.hidden ({hidden})", key="head.grow"
        )


def head_of(earlier: EarlierModel, classes: Sequence[str], width: int) -> nn.Linear:
    """Returns a linear head with the earlier model's weights for shared classes, and zeros for the others.

    Raises ParamsError if the weights file has no linear head for `width` features.
    """
    state = earlier.state
    if not {f"{EARLIER}weight", f"{EARLIER}bias"} <= state.keys() or "classes" not in earlier.description:
        raise ParamsError(
            "head.start: backbone.weights has no linear head to start from; name an earlier model, such as "
            "models:/rootstock@live, or set head.start to zero",
            key="head.start",
        )
    if state[f"{EARLIER}weight"].shape[1] != width:
        raise ParamsError(
            f"head.start: the earlier head takes {state[f'{EARLIER}weight'].shape[1]} features, this backbone has "
            f"{width}; use the earlier model's architecture and backbone.cut, or set head.start to zero",
            key="head.start",
        )
    place = {name: row for row, name in enumerate(earlier.description["classes"])}
    weight_CD, bias_C = (state[f"{EARLIER}{name}"].float() for name in ("weight", "bias"))
    rows = [place.get(name) for name in classes]
    return linear(
        torch.stack([torch.zeros_like(weight_CD[0]) if row is None else weight_CD[row] for row in rows]),
        torch.stack([torch.zeros_like(bias_C[0]) if row is None else bias_C[row] for row in rows]),
    )


def settings_of(chosen: Probe, kind: str) -> dict[str, int]:
    """Returns the settings that `build_head` needs to rebuild the head."""
    if kind == "dense":
        return {"hidden": len(chosen.head.state_dict()["0.bias"])}
    if kind == "knn":
        rows = len(chosen.head.state_dict()["keys_RD"])
        return {"rows": rows, "neighbours": min(int(chosen.setting), rows)}
    return {}
