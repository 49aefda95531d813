"""Checks that the data and the installed packages support an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from tasks.core.errors import ParamsError
from tasks.core.target import TargetKind

ATTACKS_SUPPORTED: Mapping[TargetKind, bool] = {
    TargetKind.CLASSIFICATION: True,
    TargetKind.MULTILABEL: False,
    TargetKind.REGRESSION: False,
}


def check_attacks_supported(attack_images: int, kind: TargetKind) -> None:
    """Raises ParamsError if attacks are requested that the target kind does not support or that are not installed."""
    if attack_images and not ATTACKS_SUPPORTED[kind]:
        raise ParamsError(
            f"evaluate.attacked: the attacks support classification only, not {kind}; set it to 0",
            key="evaluate.attacked",
        )
    check_attacks_installed(attack_images)


def check_attacks_installed(attack_images: int) -> None:
    """Raises ParamsError if attacks are requested and the optional package that implements them is not installed."""
    if attack_images and find_spec("art") is None:
        raise ParamsError(
            "evaluate.attacked: the package adversarial-robustness-toolbox is not installed; run make attacks, or set "
            "it to 0",
            key="attacks-not-installed",
        )
