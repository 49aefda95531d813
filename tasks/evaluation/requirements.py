"""What an evaluation has a meaning for."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from tasks.core.errors import ParamsError
from tasks.data.manifest import label_names, target_names

if TYPE_CHECKING:
    import pandas as pd


def refuse_attacks(attacked: int, manifest: pd.DataFrame) -> None:
    """Raises ParamsError if attacks are asked for that have no meaning for these images, or are not installed."""
    if attacked and (target_names(manifest) or label_names(manifest)):
        raise ParamsError("evaluate.attacked: AutoAttack knows one class an image; set it to 0")
    refuse_attacks_not_installed(attacked)


def refuse_attacks_not_installed(attacked: int) -> None:
    """Raises ParamsError if attacks are asked for without the optional package that has them."""
    if attacked and find_spec("art") is None:
        raise ParamsError(
            "evaluate.attacked: the package adversarial-robustness-toolbox is not installed; run make attacks, or set "
            "it to 0"
        )
