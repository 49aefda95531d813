"""Predict: a registered model's answers for a picture, a folder or a manifest. Run by make predict."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from filelock import FileLock
from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from flows.config import parameters
from flows.local.logs import plain_errors
from flows.registry.versions import CHALLENGER, resolve, scorer_kind, scorer_of
from tasks.core.errors import DataRefusedError, RootstockError
from tasks.core.files import write_text
from tasks.core.schema import Column
from tasks.evaluation.answer_text import CAPTIONS, LINES

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

    from tasks.core.target import TargetKind
    from tasks.evaluation.batch_prediction import Streaming

MANIFESTS: dict[str, Callable[[Path], pd.DataFrame]] = {
    # 001 and NA are names
    ".csv": lambda file: pd.read_csv(file, dtype={Column.PATH: "string"}, keep_default_na=False),
    ".parquet": pd.read_parquet,
}
SHEET = 40  # pictures on the page
SOURCE = ".source"  # the file beside answers that says what they are of
BROKEN_SHOWN = 200  # broken files on the page


@dataclass(frozen=True)
class Wanted:
    """What is to be answered: files below a root, and a name for the answers."""

    root: Path
    files: list[str]
    name: str


@flow(name="predict")
def predict(source: str, model: str | None = None, out: str | None = None) -> str:
    """Answers for all pictures of `source`; `model` is an alias or a version's number. What became of it."""
    plain_errors()
    text = answer(source, model, out, get_run_logger().info)
    create_markdown_artifact(f"```\n{text}\n```", key="predict-result", description="What became of a prediction")
    return text


def answer(source: str, model: str | None, out: str | None, say: Callable[[str], None]) -> str:
    """Writes parquet, CSV and a page for a folder or a manifest; for a single picture, only says the answer."""
    params = parameters.load()
    version = _version(params.register_.model, model or params.predict.model)
    place = Path(source)
    scorer = scorer_of(version)
    if place.is_file() and place.suffix.lower() not in MANIFESTS:
        return f"{one(scorer, place)}\n(version {version.version} of {version.name})"
    wanted = files_of(place)
    target, folder = Path(out) if out else params.paths.predicted / wanted.name, params.paths.state / "predict"
    if target.exists() and not target.is_dir():
        raise RootstockError(f"--out: {target} is a file; name a folder for the answers")
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{_digest(str(target.resolve()))}.lock"):  # another of the same name waits
        if not out:
            target = place_for(place, target)
            write_text(target / SOURCE, str(place.resolve()))
        kept = folder / _digest(str(target.resolve()), version.source, state_of(wanted))
        answered, broken = stream(scorer, wanted, kept, target, say)
        _page(target, wanted, version, scorer_kind(scorer), broken)
        shutil.rmtree(kept)
    told = f"{answered} answers by version {version.version} of {version.name}"
    names = ", ".join(f"predictions.{kind}" for kind in ("parquet", "csv", "html"))
    return f"{told}; {broken} broken files, listed with their reasons\n{target.resolve()}: {names}"


def place_for(source: Path, target: Path) -> Path:
    """Where the answers go: into `target`, or beside it where another source's are there."""
    note, own = target / SOURCE, str(source.resolve())
    taken = note.exists() and note.read_text(encoding="utf-8") != own
    return target.with_name(f"{target.name}-{_digest(own)[:8]}") if taken else target


def _digest(*facts: object) -> str:
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]


def _version(name: str, wanted: str) -> ModelVersion:
    try:
        return resolve(name, wanted)
    except RootstockError as error:
        raise RootstockError(f"{error}\nto use the newest one all the same: --model {CHALLENGER}") from None


def one(scorer: Streaming, picture: Path) -> str:
    """Returns the answer for one picture in a line. Raises DataRefusedError if it is broken."""
    logits_C, reason = next(scorer.stream(iter([picture.read_bytes()])))
    if logits_C is None:
        raise DataRefusedError(f"{picture}: {reason}")
    return f"{picture}: {LINES[scorer_kind(scorer)](scorer, logits_C)}"


def files_of(source: Path) -> Wanted:
    """The pictures of a folder, or those that a manifest names in its column `path`, relative to its own folder.

    Raises RootstockError if there are none.
    """
    from tasks.data.image_files import find, refuse_unusable

    if source.is_dir():
        refuse_unusable(source, "source", hidden=False)
        found, root = find(source)[0], source
    elif source.is_file():
        try:
            table = MANIFESTS[source.suffix.lower()](source)
        except (ValueError, OSError) as error:  # of encodings, parsers and Arrow
            raise RootstockError(f"{source} is no table that can be read: {error}") from None
        if Column.PATH not in table:
            raise RootstockError(f"{source} has no column {Column.PATH}; it has {', '.join(map(str, table.columns))}")
        found, root = [str(path) for path in table[Column.PATH].fillna("")], source.parent
    else:
        raise RootstockError(f"{source} is not there; give a picture, a folder of pictures, or a .csv or .parquet file")
    if not found:
        raise RootstockError(f"no pictures in {source}")
    return Wanted(root, found, source.stem if source.is_file() else source.resolve().name)


def state_of(wanted: Wanted) -> list[tuple[str, int, int]]:
    """Name, size and time of each file, in order: an interrupted prediction goes on only if none of them changed."""
    from tasks.evaluation.batch_prediction import is_there

    found = []
    for name in wanted.files:
        file = wanted.root / name
        status = file.stat() if is_there(file) else None
        found.append((name, status.st_size if status else -1, status.st_mtime_ns if status else -1))
    return found


def stream(scorer: Streaming, wanted: Wanted, kept: Path, target: Path, say: Callable[[str], None]) -> tuple[int, int]:
    """Scores in parts, joins them in `target`; how many answers and how many broken files."""
    from tasks.core.messages import ProgressMessage
    from tasks.evaluation.batch_prediction import merge, score_parts

    for done in score_parts(scorer, scorer_kind(scorer), wanted.root, wanted.files, kept):
        say(str(ProgressMessage(done, len(wanted.files), "files answered")))
    return merge(kept, target / "predictions.parquet", target / "predictions.csv")


def _page(target: Path, wanted: Wanted, version: ModelVersion, kind: TargetKind, broken: int) -> None:
    """Writes a sheet of the first pictures with their answers, and the broken files."""
    import pyarrow.parquet as pq

    from tasks.reports.page import PageSection, page
    from tasks.reports.pictures import thumbnails

    names = [name for name in pq.read_schema(target / "predictions.parquet").names if name != Column.DISTRIBUTION]
    rows: Any = pq.read_table(target / "predictions.parquet", columns=names).to_pandas()
    good = rows[rows[Column.REASON].isna()].head(SHEET)
    captions = [CAPTIONS[kind](row) for row in good.drop(columns=[Column.PATH, Column.REASON]).to_dict("records")]
    sheet = target / ".sheet.png"
    thumbnails(sheet, [wanted.root / path for path in good[Column.PATH]], captions)
    bad = rows[rows[Column.REASON].notna()].head(BROKEN_SHOWN)
    parts = [
        PageSection(
            text=f"{len(rows)} files, answered by version {version.version} of {version.name}. ?: not sure enough."
        ),
        PageSection(f"The first {len(good)}", picture=sheet),
        PageSection(
            f"{broken} broken files",
            columns=["file", "reason"],
            rows=bad[[Column.PATH, Column.REASON]].to_numpy().tolist(),
        ),
    ]
    write_text(target / "predictions.html", page("Predictions", parts))
    sheet.unlink()
