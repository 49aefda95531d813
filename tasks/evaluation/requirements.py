"""What an evaluation requires of the data and of the installation."""

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
    """Raises ParamsError if attacks are asked for and there is none on such models, or they are not installed."""
    if attack_images and not ATTACKS_SUPPORTED[kind]:
        raise ParamsError("evaluate.attacked: AutoAttack knows one class an image; set it to 0")
    check_attacks_installed(attack_images)


def check_attacks_installed(attack_images: int) -> None:
    """Raises ParamsError if attacks are asked for without the optional package that has them."""
    if attack_images and find_spec("art") is None:
        raise ParamsError(
            "evaluate.attacked: the package adversarial-robustness-toolbox is not installed; run make attacks, or set "
            "it to 0"
        )
