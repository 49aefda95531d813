"""Answers any number of files in parts, a batch by one thread: in threads here, or by the workers of a cluster.

No answer then depends on the number of threads or of workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from tasks.core.files import replacing
from tasks.core.spread import is_cluster, spread
from tasks.core.target import TargetKind
from tasks.embedding.thread_count import threads_with_room
from tasks.embedding.worker import CPU, LOADED, check_worker, facts_of_bits
from tasks.evaluation.prediction_files import bytes_of, without_bytes
from tasks.evaluation.prediction_tables import SCHEMAS, StreamingScorer, part_file, prediction_row
from tasks.hardware.heap import trimmed
from tasks.hardware.threads import map_in_threads, one_thread
from tasks.scorer.preprocessing import stacked

PART_SIZE, BATCH = 512, 64  # files per part, whose predictions are held in memory; files that a thread answers at once
Loader = Callable[[], StreamingScorer]  # loads a scorer in another process; its representation names what it reads


class Part(NamedTuple):
    """The number of a part's first file, the names of its files, and how many are answered at once."""

    start: int
    files: Sequence[str]
    batch: int

    def batches(self) -> list[Sequence[str]]:
        """Returns the files that are answered at once."""
        return [self.files[start : start + self.batch] for start in range(0, len(self.files), self.batch)]


def score_parts(
    scorer: StreamingScorer,
    kind: TargetKind,
    root: Path,
    files: Sequence[str],
    folder: Path,
    load: Loader | None = None,
) -> Iterator[int]:
    """Writes the predictions for `files` below `root` in parts to `folder`; parts of an interrupted run are reused.

    Yields the number of finished files after each part. Without `load`, a cluster is not used.
    """
    parts = [Part(start, files[start : start + PART_SIZE], BATCH) for start in range(0, len(files), PART_SIZE)]
    missing = [part for part in parts if not part_file(folder, part.start).exists()]
    finished = len(files) - sum(len(part.files) for part in missing)
    work = PartPrediction(scorer, kind, root, folder, load)
    folder.mkdir(parents=True, exist_ok=True)
    for count in spread(work, missing) if load and is_cluster() else work.here(missing):
        finished += count
        yield finished


@dataclass(frozen=True)
class PartPrediction:
    """Answers the files of parts, and writes the answers. Pickled, it names the scorer instead of holding it."""

    scorer: StreamingScorer
    kind: TargetKind
    root: Path
    folder: Path
    load: Loader | None = None

    def here(self, parts: Sequence[Part]) -> Iterator[int]:
        """Writes the parts' answers, computed by as many threads as memory has room for. Yields the number of each."""
        threads = threads_with_room(self.scorer.network, self.scorer.preprocessing.crop, CPU, BATCH) if parts else 1
        rows = map_in_threads(self._rows, chain.from_iterable(part.batches() for part in parts), most=threads)
        with closing(rows):  # it limits PyTorch to one thread meanwhile
            for part in trimmed(parts):
                yield self._write(part, islice(rows, len(part.batches())))

    def __call__(self, part: Part) -> int:
        """Writes a part's answers, computed by this thread. Returns their number."""
        with one_thread():
            return self._write(part, map(self._rows, part.batches()))

    def _rows(self, files: Sequence[str]) -> list[dict[str, Any]]:
        squares = [self._square(self.root / file) for file in files]
        decoded = [square for square in squares if isinstance(square, Tensor)]
        network_input = self.scorer.preprocessing.network_input
        logits = iter(self.scorer.forward(network_input(stacked(decoded))) if decoded else ())
        return [
            prediction_row(self.scorer, file, next(logits), "")
            if isinstance(square, Tensor)
            else prediction_row(self.scorer, file, None, square)
            for file, square in zip(files, squares, strict=True)
        ]

    def _square(self, file: Path) -> Tensor | str:
        """Returns the square (3, R, R) uint8 of a file, or why there is none."""
        try:
            return self.scorer.preprocessing.read(bytes_of(file))
        except ValueError as reason:
            return without_bytes(file) or str(reason)

    def _write(self, part: Part, rows: Iterable[list[dict[str, Any]]]) -> int:
        table = pa.Table.from_pylist(list(chain.from_iterable(rows)), schema=SCHEMAS[self.kind](self.scorer))
        with replacing(part_file(self.folder, part.start)) as temporary:
            pq.write_table(table, temporary)
        return len(part.files)

    def __reduce__(self) -> tuple[object, ...]:
        """Returns how to do the same in another process."""
        return RemotePartPrediction, (
            self.load,
            facts_of_bits(CPU),
            self.kind,
            self.root.absolute(),
            self.folder.absolute(),
        )


@dataclass(frozen=True)
class RemotePartPrediction:
    """Does the same in another process. It loads the scorer when it is first called, not when it is unpickled."""

    load: Loader
    facts: Mapping[str, str]
    kind: TargetKind
    root: Path
    folder: Path

    def __call__(self, part: Part) -> int:
        """Writes a part's answers. Returns their number.

        Raises RootstockError if they would not be the same bits, or if the files are not where the client has them.
        """
        check_worker(self.facts, CPU, self.root, self.folder)
        with LOADED.using(repr(self.load), self.load) as scorer:
            return PartPrediction(scorer, self.kind, self.root, self.folder)(part)
