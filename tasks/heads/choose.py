"""The heads to choose from, fitted on features: what the stage head is made of. Shapes: N rows, D features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from tasks.core.errors import ParamsError
from tasks.core.schema import Balance, Column, Split
from tasks.heads import linear as heads
from tasks.heads import nonlinear as other_heads
from tasks.heads.linear import Probe, linear
from tasks.heads.nonparametric import fit_neighbours, fit_prototypes
from tasks.models.partial_loading import EARLIER
from tasks.training.class_balance import balanced, log_prior
from tasks.training.goal import Goal
from tasks.training.losses.squared_error import squared_error


def choose_head(
    index: pd.DataFrame,
    x_ND: Tensor,
    goal: Goal,
    section: Mapping[str, Any],
    balance: Balance,
    seed: int,
    earlier: tuple[dict[str, Tensor], dict[str, Any]],
) -> list[Probe]:
    """Heads of the kind that `section` (head of params.yaml) asks for, one a setting, on the rows of the index.

    `earlier` is the weights file that the backbone came from, with what it says of itself. Raises ParamsError for a
    combination that has no meaning.
    """
    kind = section["kind"]
    refuse(section, goal, balance)
    y = goal.standardised(goal.truth(index))
    is_train, is_validation = (
        torch.tensor((index[Column.SPLIT] == split).to_numpy()) for split in (Split.TRAIN, Split.VALIDATION)
    )
    validation = (x_ND[is_validation], y[is_validation])
    weight_N = torch.tensor(index[Column.WEIGHT].to_numpy())[is_train]
    prior = log_prior(weight_N, y[is_train], goal.outputs) if balance is Balance.LOGITS else None
    if balance in {Balance.WEIGHTS, Balance.SAMPLING}:  # on all rows at once they are the same
        weight_N = balanced(weight_N, y[is_train], goal.outputs)
    measure = heads.VALUES if goal.targets else goal.measure(balance)
    train = (x_ND[is_train], y[is_train], weight_N)
    if kind == "dense":
        dense = other_heads.Dense(
            widths=(*section["grow"], section["hidden"]),
            strengths=section["strengths"],
            rate=section["rate"],
            epochs=section["epochs"],
            batch=section["batch"],
            seed=seed,
            objective=squared_error((1.0,)) if goal.targets else goal.objective(log_prior_C=prior),
            measure=measure,
        )
        return other_heads.fit_dense(train, validation, goal.outputs, dense)
    if kind == "prototype":
        return fit_prototypes(train, validation, goal.outputs)
    if kind == "knn":
        return fit_neighbours(train, validation, goal.outputs, section["neighbours"])
    if goal.targets:
        return heads.fit_ridge(train, validation, section["strengths"])
    start = head_of(*earlier, goal.classes, x_ND.shape[1]) if section["start"] == "earlier" else None
    return heads.fit_probes(train, validation, goal.outputs, section["strengths"], start, prior, measure)


def refuse(section: Mapping[str, Any], goal: Goal, balance: Balance) -> None:
    """Raises ParamsError for what cannot be meant."""
    kind, grow, hidden = section["kind"], section["grow"], section["hidden"]
    what = "targets" if goal.targets else "several labels" if goal.several else ""
    if what and kind not in {"linear", "dense"}:
        raise ParamsError(f"head.kind: a {kind} head has no meaning for {what}; take linear or dense")
    if what and balance is not Balance.NONE:
        raise ParamsError(f"balance: it has no meaning for {what}; set it to none")
    if kind not in {"linear", "dense"} and balance is not Balance.NONE:
        raise ParamsError(f"balance: a {kind} head learns nothing that could be balanced; set it to none")
    if section["start"] == "earlier" and (kind != "linear" or goal.targets):
        raise ParamsError("head.start: only a linear head on classes can start from an earlier one; set it to zero")
    if grow and kind != "dense":
        raise ParamsError(f"head.grow: a {kind} head has no units to grow by; set it to []")
    if list(grow) != sorted({*grow, hidden} - {hidden}) or (grow and grow[-1] > hidden):
        raise ParamsError(f"head.grow: {list(grow)} must rise, up to less than head.hidden ({hidden})")


def head_of(
    state: Mapping[str, Tensor], description: Mapping[str, Any], classes: Sequence[str], width: int
) -> nn.Linear:
    """The earlier model's rows for the classes it knew, and zeros for those it did not.

    Raises ParamsError if the weights file brings no linear head.
    """
    if not {f"{EARLIER}weight", f"{EARLIER}bias"} <= state.keys() or "classes" not in description:
        raise ParamsError(
            "head.start: backbone.weights brings no linear head to start from; name an earlier model, such as "
            "models:/rootstock@live, or set head.start to zero"
        )
    if state[f"{EARLIER}weight"].shape[1] != width:
        raise ParamsError(
            f"head.start: the earlier head is for {state[f'{EARLIER}weight'].shape[1]} features, this backbone gives "
            f"{width}; take the earlier model's own architecture and backbone.cut, or set head.start to zero"
        )
    known = {name: place for place, name in enumerate(description["classes"])}
    weight_CD, bias_C = (state[f"{EARLIER}{name}"].float() for name in ("weight", "bias"))
    rows = [known.get(name) for name in classes]
    return linear(
        torch.stack([torch.zeros_like(weight_CD[0]) if row is None else weight_CD[row] for row in rows]),
        torch.stack([torch.zeros_like(bias_C[0]) if row is None else bias_C[row] for row in rows]),
    )


def settings_of(chosen: Probe, kind: str) -> dict[str, int]:
    """What must be known to build the head again."""
    if kind == "dense":
        return {"hidden": len(chosen.head.state_dict()["0.bias"])}
    if kind == "knn":
        rows = len(chosen.head.state_dict()["keys_RD"])
        return {"rows": rows, "neighbours": min(int(chosen.setting), rows)}
    return {}
