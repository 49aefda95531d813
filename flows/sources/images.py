"""Brings in the images and weights that params.yaml names, as versions that DVC keeps; make data does only this."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from flows.config.parameters import DIGITS, ROTATIONS, FlowParams
from flows.local.environment import CHECKOUT, MAIN_CHECKOUT
from flows.sources.registry_pins import pin
from flows.sources.weights import teacher_of, weights_of
from flows.stages import dvc_cli as versioning
from tasks.core.errors import DataRefusedError, RootstockError
from tasks.core.files import put_aside, read_json, write_json
from tasks.core.schema import TABLE
from tasks.data.archives import is_archive, single_folder, unpack
from tasks.data.image_files import refuse_unusable

TABLES = (".csv", ".parquet")
UNFINISHED = {"unfinished": str(CHECKOUT)}  # the note of this checkout's import


def bring_in(params: FlowParams) -> dict[str, str]:
    """Makes paths.raw and paths.pretrained what the parameters name; what became of each, in a few words."""
    pin(params)
    became = {
        "images": _bring_in(images_of(params), params.paths.raw, params.paths.state),
        "weights": _bring_in(weights_of(params), params.paths.pretrained, params.paths.state),
        "teacher": _bring_in(teacher_of(params), params.paths.teacher, params.paths.state),
    }
    return became if params.teacher.weights else {name: became[name] for name in ("images", "weights")}


def images_of(params: FlowParams) -> Path:
    """The folder of images that data.source stands for: the digits rendered, an archive unpacked, a table's images.

    Raises RootstockError if there is no such source, and DataRefusedError for one that cannot be used.
    """
    if params.data.source == DIGITS:
        refuse_columns(params)
        return rendered(params.paths.state / "source" / DIGITS, "render")
    place, trusted = MAIN_CHECKOUT / params.data.source, True
    if params.data.source == ROTATIONS:
        place = rendered(params.paths.state / "source" / ROTATIONS, "render_rotations") / "manifest.csv"
    if place.is_file() and is_archive(place):
        trusted, place = False, unpacked(place, params.paths.state / "source", params.data.archive_limit)
        tables = [place / f"manifest{suffix}" for suffix in TABLES if (place / f"manifest{suffix}").is_file()]
        place = tables[0] if tables else place
    if place.is_file() and place.suffix.lower() in TABLES:
        from tasks.data.tables import bring_together

        labels = (params.data.targets, params.data.separator)
        key = hashlib.sha256(repr((str(place.resolve()), labels)).encode()).hexdigest()
        return bring_together(place, params.paths.state / "source" / f"table-{key[:16]}", *labels, trusted=trusted)
    if not place.is_dir():
        raise RootstockError(
            f"data.source: {place} is no folder, table or archive; give a folder of class/*.jpg or "
            "train|val|test/class/*.jpg, a .csv or .parquet file with columns path and label, or a .zip or .tar of one"
        )
    refuse_columns(params)
    if (place / TABLE).exists():
        raise RootstockError(f"data.source: {place} holds {TABLE}, which is a name of Rootstock's own: rename it")
    refuse_unusable(place, "data.source", hidden=True)
    refuse_empty_folders(place, params.paths.failed("source") / params.paths.validation_page.name)
    return place


def refuse_columns(params: FlowParams) -> None:
    """Raises RootstockError for what only a table has."""
    if params.data.targets:
        raise RootstockError("data.targets: only a table has columns of numbers; set it to []")
    if params.data.separator:
        raise RootstockError("data.separator: only the column label of a table can hold several labels; set it to null")


def unpacked(archive: Path, folder: Path, most_gib: float) -> Path:
    """The archive's folder, unpacked once for its name, size and time."""
    key = hashlib.sha256(f"{archive.resolve()}:{listing(archive)}".encode()).hexdigest()
    target = folder / f"archive-{key[:16]}"
    return single_folder(target) if target.exists() else unpack(archive, target, most_gib)


def refuse_empty_folders(folder: Path, page: Path) -> None:
    """Raises DataRefusedError, and writes a report, if a folder has nothing in it: versions hold files only."""
    from tasks.core.files import write_text
    from tasks.data.expectations import CRITICAL
    from tasks.data.findings import Finding, sentence
    from tasks.reports.validation_page import findings_page

    found = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_dir() and not any(path.iterdir()))
    empty = tuple(str(path) for path in found if not any(part.startswith(".") for part in path.parts))
    if empty:
        finding = Finding(
            "Every folder holds images", CRITICAL, False, len(empty), empty, "add images, or remove the folder"
        )
        write_text(page, findings_page([finding]))
        raise DataRefusedError(f"data.source: {folder} was refused:\n{sentence(finding)}\nreport: {page}")


def rendered(folder: Path, by: str) -> Path:
    """Embedded data as a folder, rendered once by this function of tasks.embedded.digits."""
    if not folder.exists():
        from tasks.embedded import digits

        beside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
        shutil.rmtree(beside, ignore_errors=True)
        getattr(digits, by)(beside)
        beside.rename(folder)
    return folder


def _bring_in(source: Path, target: Path, state: Path) -> str:
    """Tracks `source` as `target`, unless the listing of its files is the one that was brought in last.

    What this checkout's killed import left is no one's edit, and replaced; a copy without its version, or with another
    one since (`git pull`), is put aside. Raises RootstockError for a `target` that is someone's own: the source itself,
    edited by hand, or never brought in.
    """
    _refuse_itself(source, target)
    note = state / "source" / f"{target.name}.json"
    now = {"source": str(source.resolve()), "listing": listing(source)}
    noted = read_json(note) if note.exists() else {}
    before = versioning.tracked_md5(target) if versioning.dvc_file(target).exists() else None
    if before and target.exists() and noted == {**now, "md5": before}:
        return f"unchanged: {_short(source)}"
    if target.exists() and (not before or noted.get("md5", before) != before):
        _put_aside_own(target, note, state)
    elif target.exists() and noted != UNFINISHED:
        versioning.refuse_edits(target)
    write_json(note, UNFINISHED)
    versioning.track(source, target)
    after = versioning.tracked_md5(target)
    write_json(note, {**now, "md5": after})
    return f"{'unchanged' if after == before else 'brought in'}: {_short(source)}"


def _refuse_itself(source: Path, target: Path) -> None:
    """Raises RootstockError if one lies in the other: the copy would replace what it is made from."""
    here, there = source.resolve(), target.resolve()
    if here.is_relative_to(there) or there.is_relative_to(here):
        raise RootstockError(f"{source}: Rootstock's own copy goes to {target}; keep yours in another folder")


def _put_aside_own(target: Path, note: Path, state: Path) -> None:
    """Puts a copy of ours aside that no version holds. Raises RootstockError for what was never brought in."""
    if not note.exists():
        raise RootstockError(
            f"{target} is where Rootstock's copy goes, and no version holds what is there: move it away"
        )
    put_aside(target, state / "failed" / target.name)


def _short(source: Path) -> str:
    """A path below the main checkout without that."""
    return str(source.relative_to(MAIN_CHECKOUT) if source.is_relative_to(MAIN_CHECKOUT) else source)


def listing(source: Path) -> str:
    """A digest of the names, sizes and times of all files below `source`: as quick as walking the folder."""
    files = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
    facts = [
        (str(path.relative_to(source)), status.st_size, status.st_mtime_ns)
        for path in files
        for status in [path.stat()]
    ]
    return hashlib.sha256(repr(facts).encode()).hexdigest()
