"""The state of a search for a recipe, saved after each fit, so that a killed search goes on with the next one."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Self

from torch import Tensor

from tasks.objectives.out_of_fold import Point
from tasks.objectives.search_report import RecipeFit
from tasks.training.state import Checkpoint, Progress, Tensors

NOT_SAVED = {"best", "interpolated"}  # of a fit's progress: not needed once it is finished


@dataclass
class SearchState:
    """The finished fits, and of the `kept` one, the best of its rung: the whole network's weights, and the progress.

    `seconds` are those of all fits; `outputs` are on validation images, at every point, if images are too few to halve.
    """

    done: list[RecipeFit] = field(default_factory=list)
    kept: int = 0
    weights: Tensors = field(default_factory=dict)
    progress: Progress = field(default_factory=Progress)
    seconds: float = 0.0
    outputs: dict[Point, Tensor] = field(default_factory=dict)

    @property
    def best(self) -> RecipeFit:
        """Returns the kept fit."""
        return self.done[self.kept]

    def save(self, checkpoint: Checkpoint) -> None:
        """Replaces the saved state."""
        tensors = {f"weights.{name}": tensor for name, tensor in self.weights.items()}
        tensors |= {f"outputs.{place}.{alpha}": output for (place, alpha), output in self.outputs.items()}
        progress = {name: value for name, value in vars(self.progress).items() if name not in NOT_SAVED}
        fits = [asdict(fit) for fit in self.done]
        checkpoint.save(tensors, {"fits": fits, "kept": self.kept, "progress": progress, "seconds": self.seconds})

    @classmethod
    def load(cls, checkpoint: Checkpoint) -> Self:
        """Returns the saved state, or an empty one."""
        saved = checkpoint.load()
        if saved is None:
            return cls()
        tensors, values = saved
        state = cls([RecipeFit(**fit) for fit in values["fits"]], values["kept"])
        state.progress, state.seconds = Progress(**values["progress"]), values["seconds"]
        for name, tensor in tensors.items():
            kind, _, key = name.partition(".")
            if kind == "weights":
                state.weights[key] = tensor
            else:
                place, _, alpha = key.partition(".")
                state.outputs[int(place), float(alpha)] = tensor
        return state
