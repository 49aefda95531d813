"""The parameters that decide how much the stages have to do; their cost is recorded with these."""

from __future__ import annotations

from pydantic import Field

from tasks.core.params import StageParams
from tasks.core.sections import EvaluateSection, FinetuneSection

SPLIT_SHARE = 0.5  # of compute.memory: for the decoded images of each split that fine-tuning trains or validates on


class SizingParams(StageParams):
    """The parameters that decide how much time, memory and disk the stages need."""

    views: int = Field(alias="features.views")
    memory: float = Field(alias="compute.memory")  # GiB
    finetune: FinetuneSection
    scratch: bool = Field(alias="scratch.run")
    evaluate: EvaluateSection

    @property
    def passes(self) -> int:
        """Returns how often fine-tuning sees each training image, at most."""
        fit = self.finetune
        return {"fixed": fit.epochs, "search": fit.budget}.get(fit.recipe, max(fit.epochs, fit.budget))

    @property
    def candidates(self) -> int:
        """Returns the number of networks that evaluation compares."""
        return 2 + self.scratch
