"""Scores the tuned model under corruptions, on a sample of the test images. Shapes: N images, C outputs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from tasks.core.progress import counted
from tasks.core.schema import Column, Metric
from tasks.core.spread import spread
from tasks.embedding.thread_count import threads_with_room
from tasks.embedding.worker import CPU, LOADED, check_worker, facts_of_bits
from tasks.evaluation.candidates import EvaluationInput, sample_rows
from tasks.evaluation.scorers import TunedFile
from tasks.hardware.threads import map_in_threads, one_thread
from tasks.images.corruptions import corrupted
from tasks.images.loading import ImageSquares
from tasks.scorer.answer import Scorer
from tasks.scorer.preprocessing import Preprocessing

AS_IS = "none"
ImageScore = Callable[[Tensor, Tensor], Tensor]  # maps outputs and labels to a score per image, (N,)
Trial = tuple[str, float]  # kind and strength of a corruption


def score_under_corruptions(
    case: EvaluationInput, metric: Metric, image_score: ImageScore, skipped: Collection[str] = ()
) -> pd.DataFrame:
    """Returns the mean score on clean images and under each corruption not in `skipped`, one row each.

    Columns: corruption, strength, the metric, images.
    """
    columns, rows = ["corruption", "strength", metric, "images"], sample_rows(case.test, case.section.corrupted)
    if rows.empty:
        return pd.DataFrame(columns=columns)
    y_N = torch.from_numpy(case.target.encode(rows))
    corruptions = [(kind, strength) for kind, strengths in case.section.corruptions for strength in strengths]
    trials = [(AS_IS, 0.0), *((kind, strength) for kind, strength in corruptions if kind not in skipped)]
    sample = Sample(case.paths.raw.absolute(), tuple(rows[Column.PATH]), case.tuned_file)
    work = CorruptedOutputs(case.tuned, sample.squares(case.tuned.preprocessing), case.batch, sample)
    outputs = counted(work.of_all(trials), len(trials), "corruptions scored")
    scores = [
        (kind, strength, float(image_score(output_NC, y_N).sum()) / len(rows), len(rows))
        for (kind, strength), output_NC in zip(trials, outputs, strict=True)
    ]
    return pd.DataFrame(scores, columns=columns)


@dataclass(frozen=True)
class Sample:
    """The images on which corruptions are tested, and what loads the scorer in another process."""

    root: Path
    files: Sequence[str]
    load: TunedFile

    def squares(self, preprocessing: Preprocessing) -> Tensor:
        """Reads the images. Returns their squares, (N, 3, R, R) uint8."""
        return ImageSquares(self.root, self.files, preprocessing, memory=0)[range(len(self.files))]


@dataclass(frozen=True)
class CorruptedOutputs:
    """Computes a scorer's outputs on images under a corruption. Pickled, it names both instead of holding them."""

    scorer: Scorer
    square_N3RR: Tensor
    batch: int
    sample: Sample

    def of_all(self, trials: Sequence[Trial]) -> Iterator[Tensor]:
        """Yields the outputs, (N, C), for each corruption, on a CPU each computed by one thread."""
        network, side = self.scorer.network, self.scorer.preprocessing.crop
        if next(network.parameters()).device.type != "cpu":
            return map(self, trials)
        return spread(self, trials, partial(map_in_threads, most=threads_with_room(network, side, CPU, self.batch)))

    def __call__(self, trial: Trial) -> Tensor:
        """Returns the outputs, (N, C), for one corruption."""
        return torch.cat([_outputs(self.scorer, part, *trial) for part in torch.split(self.square_N3RR, self.batch)])

    def __reduce__(self) -> tuple[object, ...]:
        """Returns how to do the same in another process."""
        return RemoteCorruptedOutputs, (self.sample, facts_of_bits(CPU), self.batch)


@dataclass(frozen=True)
class RemoteCorruptedOutputs:
    """Does the same in another process. It loads the scorer when it is first called, not when it is unpickled."""

    sample: Sample
    facts: Mapping[str, str]
    batch: int

    def __call__(self, trial: Trial) -> Tensor:
        """Returns the outputs, (N, C). Raises RootstockError if they would not be the same bits."""
        check_worker(self.facts, CPU, self.sample.root, self.sample.load.weights.parent)
        with one_thread(), LOADED.using(repr(self), self._here) as work:
            return work(trial)

    def _here(self) -> CorruptedOutputs:
        scorer = self.sample.load()
        return CorruptedOutputs(scorer, self.sample.squares(scorer.preprocessing), self.batch, self.sample)


def _outputs(scorer: Scorer, square_N3RR: Tensor, kind: str, strength: float) -> Tensor:
    prepare = scorer.preprocessing
    is_clean = kind == AS_IS
    return scorer.forward(
        prepare.network_input(square_N3RR) if is_clean else corrupted(kind, strength, square_N3RR, prepare)
    )
