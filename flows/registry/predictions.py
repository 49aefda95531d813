"""Applies a registered model to an image, a folder or a table of images."""

from __future__ import annotations

import hashlib
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from flows.config import parameters
from flows.local.state import open_state
from flows.registry.shared_scorer import shared_scorer
from flows.registry.versions import newest, resolve, scorer_of
from tasks.core.errors import DataRefusedError, RootstockError
from tasks.core.files import write_text
from tasks.core.near_names import similar_beside
from tasks.core.schema import Column
from tasks.core.spread import is_cluster
from tasks.data.tables.files import is_table
from tasks.evaluation.answer_text import CAPTIONS, LINES
from tasks.evaluation.version_scorer import scorer_kind

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

    from tasks.core.target import TargetKind
    from tasks.evaluation.batch_prediction import Loader
    from tasks.evaluation.prediction_tables import StreamingScorer

SOURCES = "name an image, a folder of images, or a table (.csv, .tsv, .jsonl, .parquet)"
MAX_PICTURES = 40  # on the page
VERSION = "version"  # the folder with the version that workers of a cluster load, among unfinished answers
SOURCE = ".source"  # the file beside the answers that records their source
MAX_BROKEN = 200  # broken files on the page
TABLES = ("predictions.parquet", "predictions.csv")


@dataclass(frozen=True)
class PredictionInput:
    """Files below a root that may be images, the other files, and the name of the output folder for their answers."""

    root: Path
    files: list[str]
    name: str
    left_out: dict[str, str] = field(default_factory=dict)  # other files, with the reasons


def answer(source: str, model: str | None, out: str | None, say: Callable[[str], None]) -> str:
    """Writes Parquet, CSV and a page for a folder or a manifest; for a single image, only returns the answer.

    Raises RootstockError if the version, the source or `out` cannot be used.
    """
    from tasks.embedding.worker import CPU, facts_of_bits
    from tasks.evaluation.batch_prediction import PART_SIZE
    from tasks.evaluation.prediction_files import state_of
    from tasks.evaluation.prediction_tables import SCHEMAS

    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # of files that the answers list as broken
    params = parameters.load()
    place = Path(source)
    is_image = place.is_file() and not is_table(place)
    # Before the registry is asked: a wrong path is the nearer mistake.
    inputs = None if is_image else files_of(place, params.data.path)
    version = _version(params.register_.model, model or params.predict.model)
    scorer = scorer_of(version)
    if inputs is None:
        return f"{answer_image(scorer, place)}\n(version {version.version} of {version.name})"
    target, folder = Path(out) if out else params.paths.predicted / inputs.name, params.paths.state / "predict"
    if target.exists() and not target.is_dir():
        raise RootstockError(f"--out: {target} is a file; name a folder for the answers", key="out")
    open_state(params.paths.state)
    folder.mkdir(exist_ok=True)
    with FileLock(folder / f"{_digest(str(target.resolve()))}.lock"):  # a second prediction into this folder waits
        if not out:
            target = place_for(place, target)
            write_text(target / SOURCE, str(place.resolve()))
        state = state_of(inputs.root, (*inputs.files, *inputs.left_out))
        columns = SCHEMAS[scorer_kind(scorer)](scorer).names  # of an earlier release, they may differ
        unfinished = folder / _digest(str(target.resolve()))
        partial = unfinished / _digest(version.source, state, columns, PART_SIZE, facts_of_bits(CPU))
        load = shared_scorer(version, partial / VERSION) if is_cluster() else None
        answered, broken = stream(scorer, inputs, partial, target, say, load)
        _page(target, inputs, version, scorer_kind(scorer), broken)
        shutil.rmtree(unfinished, ignore_errors=True)  # a worker that seemed dead may still write a part
    others = f"{broken} broken files" + (f" and {len(inputs.left_out)} left out" if inputs.left_out else "")
    summary = f"{answered} answers by version {version.version} of {version.name}; {others}"
    return f"{summary}, listed with their reasons\n{target.resolve()}: {', '.join(TABLES)}, predictions.html"


def place_for(source: Path, target: Path) -> Path:
    """Returns `target`, or a folder beside it if `target` holds answers for another source."""
    note, location = target / SOURCE, str(source.resolve())
    is_taken = note.exists() and note.read_text(encoding="utf-8") != location
    return target.with_name(f"{target.name}-{_digest(location)[:8]}") if is_taken else target


def _digest(*facts: object) -> str:
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]


def _version(name: str, reference: str) -> ModelVersion:
    try:
        return resolve(name, reference)
    except RootstockError as error:
        latest = newest(name)
        remedy = f"\nto use the newest version: --model {latest}" if latest else ""
        raise RootstockError(f"{error}{remedy}", key=error.key) from None


def answer_image(scorer: StreamingScorer, picture: Path) -> str:
    """Returns the answer for one image as a line of text. Raises DataRefusedError if the file is broken."""
    from tasks.hardware.threads import one_thread

    with one_thread():  # as many images are answered
        logits_C, reason = next(scorer.stream(iter([picture.read_bytes()])))
    if logits_C is None:
        raise DataRefusedError(f"{picture}: {reason}", key="broken-image")
    return f"{picture}: {LINES[scorer_kind(scorer)](scorer, logits_C)}"


def files_of(source: Path, column: str | None = None) -> PredictionInput:
    """Lists the images in a folder, or those that a table names, relative to its folder.

    `column` is the table's column of paths, if it has such a column; otherwise it is found by its name.

    Raises RootstockError if the source cannot be read or has no images.
    """
    from tasks.data.image_files import find, refuse_unusable
    from tasks.data.notes import reasons
    from tasks.data.tables.table import read_paths

    left_out: dict[str, str] = {}
    if source.is_dir():
        refuse_unusable(source, "source", hidden=False)
        listing = find(source)
        files, root, left_out = listing.images, source, reasons(listing)
    elif source.is_file():
        files, root = read_paths(source, column), source.parent
    else:
        raise RootstockError(
            f"{source} does not exist{similar_beside(source) or f'; {SOURCES}'}",
            key="source-not-found",
        )
    if not files:
        raise RootstockError(f"no images in {source}", key="no-images")
    return PredictionInput(root, files, source.stem if source.is_file() else source.resolve().name, left_out)


def stream(
    scorer: StreamingScorer,
    inputs: PredictionInput,
    partial: Path,
    target: Path,
    say: Callable[[str], None],
    load: Loader | None,
) -> tuple[int, int]:
    """Predicts in parts and joins them in `target`. Returns the numbers of answers and of broken files."""
    from tasks.core.messages import ProgressMessage
    from tasks.evaluation.batch_prediction import score_parts
    from tasks.evaluation.prediction_tables import add_left_out, merge

    kind = scorer_kind(scorer)
    for done in score_parts(scorer, kind, inputs.root, inputs.files, partial, load):
        say(str(ProgressMessage(done, len(inputs.files), "files answered")))
    add_left_out(scorer, kind, inputs.left_out, partial)
    answered, listed = merge(partial, *(target / name for name in TABLES))
    return answered, listed - len(inputs.left_out)


def _page(target: Path, inputs: PredictionInput, version: ModelVersion, kind: TargetKind, broken: int) -> None:
    """Writes the page: the first images with their answers, and the broken files."""
    import pyarrow.parquet as pq

    from tasks.reports.image_sheets import thumbnails
    from tasks.reports.page import PageSection, page

    names = [name for name in pq.read_schema(target / "predictions.parquet").names if name != Column.DISTRIBUTION]
    rows: Any = pq.read_table(target / "predictions.parquet", columns=names).to_pandas()
    good = rows[rows[Column.REASON].isna()].head(MAX_PICTURES)
    captions = [CAPTIONS[kind](row) for row in good.drop(columns=[Column.PATH, Column.REASON]).to_dict("records")]
    sheet = target / ".sheet.png"
    thumbnails(sheet, [inputs.root / path for path in good[Column.PATH]], captions)
    bad = rows[rows[Column.REASON].notna()].head(MAX_BROKEN)
    sections = [
        PageSection(
            text=f"{len(rows)} files, answered by version {version.version} of {version.name}. "
            "A question mark: below the confidence threshold."
        ),
        PageSection(f"The first {len(good)}", picture=sheet),
        PageSection(
            f"{broken} broken files, {len(inputs.left_out)} left out",
            columns=["file", "reason"],
            rows=bad[[Column.PATH, Column.REASON]].to_numpy().tolist(),
        ),
    ]
    write_text(target / "predictions.html", page("Predictions", sections))
    sheet.unlink()
