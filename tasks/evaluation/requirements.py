"""What an evaluation has a meaning for."""

from __future__ import annotations

import pandas as pd

from tasks.core.errors import ParamsError
from tasks.data.manifest import label_names, target_names


def refuse_attacks(attacked: int, manifest: pd.DataFrame) -> None:
    """Raises ParamsError if attacks are asked for that have no meaning for these images."""
    if attacked and (target_names(manifest) or label_names(manifest)):
        raise ParamsError("evaluate.attacked: AutoAttack knows one class an image; set it to 0")
