"""The exponential moving average (EMA) of a network's weights."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


class MovingAverage:
    """The moving average of named tensors, initialized to `tensors`; with a `decay` of 0, there is no average."""

    def __init__(self, tensors: Mapping[str, Tensor], decay: float) -> None:
        self._decay = decay
        self.tensors = {name: tensor.clone() for name, tensor in tensors.items()} if decay else {}

    def update(self, state: Mapping[str, Tensor], step: int) -> None:
        """Moves the average toward `state`, the weights after `step` steps (Polyak and Juditsky, 1992).

        The decay is at most (1 + step) / (10 + step), so that the average follows faster early on, as in TensorFlow's
        ExponentialMovingAverage.
        """
        decay = min(self._decay, (1 + step) / (10 + step))
        for name, mean in self.tensors.items():
            if mean.is_floating_point():
                mean.lerp_(state[name], 1 - decay)
            else:
                mean.copy_(state[name])

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restores a saved average."""
        for name, tensor in tensors.items():
            self.tensors[name].copy_(tensor)
