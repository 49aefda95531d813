"""What an objective may do beside its loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tasks.training.types import Row, Score

if TYPE_CHECKING:
    from tasks.scorer.network import Network


class Callback:
    """Hooks of a fit; each does nothing until it is overridden."""

    def on_epoch_begin(self, epoch: int, network: Network) -> None:
        """Runs before the epoch of this number, from 0."""

    def validate(self, network: Network) -> Score | None:
        """Scores the network in a way of its own; None leaves it to the validation images."""

    def may_be_best(self, rows: Sequence[Row]) -> bool:
        """Returns whether the last row of the curve may be kept."""
        del rows
        return True

    def should_stop(self, rows: Sequence[Row]) -> bool:
        """Returns whether the last row of the curve is good enough to be kept and to end the fit."""
        del rows
        return False

    def on_end(self, network: Network) -> dict[str, float]:
        """Runs after the fit, on the best weights. Returns numbers for the report."""
        del network
        return {}
