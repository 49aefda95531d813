"""Hooks through which an objective customizes a fit, in addition to its loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tasks.training.types import Row, Score

if TYPE_CHECKING:
    from tasks.scorer.network import Network


class Callback:
    """Hooks of a fit. By default they do nothing."""

    def on_epoch_begin(self, epoch: int, network: Network) -> None:
        """Runs before epoch number `epoch`, counted from 0."""

    def validate(self, network: Network) -> Score | None:
        """Scores the network with the objective's own criterion. Returns None to use the validation images."""

    def may_be_best(self, rows: Sequence[Row]) -> bool:
        """Returns whether the last row of the curve may be kept."""
        del rows
        return True

    def should_stop(self, rows: Sequence[Row]) -> bool:
        """Returns whether the fit should end and keep the last row of the curve."""
        del rows
        return False

    def on_end(self, network: Network) -> dict[str, float]:
        """Runs after the fit, on the best weights. Returns numbers for the report."""
        del network
        return {}
