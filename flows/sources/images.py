"""Imports the images and weights that params.yaml names, versioned by DVC; `make data` runs only this."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from flows.config.parameters import DIGITS, ROTATIONS, FlowParams
from flows.local.environment import CHECKOUT, MAIN_CHECKOUT
from flows.sources import split_memory
from flows.sources.candidates import candidates_of
from flows.sources.names import SOURCES, check_names
from flows.sources.registry_pins import pin
from flows.sources.weights import teacher_of
from flows.stages import dvc_cli
from tasks.core.errors import DataRefusedError, ParamsError, RootstockError
from tasks.core.files import put_aside, read_json, write_json
from tasks.core.schema import TABLE
from tasks.data.archives import is_archive, single_folder, unpack
from tasks.data.image_files import refuse_unusable

BROUGHT_IN = "brought in"  # the outcome of an import that changed something
UNFINISHED = {"unfinished": str(CHECKOUT)}  # marker present while an import into this checkout is running


def bring_in(params: FlowParams) -> dict[str, str]:
    """Imports the images, weights and teacher that the parameters name, if changed. Returns the outcome of each.

    New images bring the splits of earlier versions with them.
    """
    check_names(params)
    pin(params)
    outcomes = {
        "images": _bring_in(images_of(params), params.paths.raw, params.paths.state),
        "weights": _bring_in(candidates_of(params), params.paths.candidates, params.paths.state),
        "teacher": _bring_in(teacher_of(params), params.paths.teacher, params.paths.state),
    }
    if outcomes["images"].startswith(BROUGHT_IN) or split_memory.is_contradicted(params.paths):
        split_memory.renew(params.paths)
    return outcomes if params.teacher.weights else {name: outcomes[name] for name in ("images", "weights")}


def images_of(params: FlowParams) -> Path:
    """Returns the image folder for data.source: rendered digits, an unpacked archive, a table's images, or itself.

    Raises RootstockError if there is no such source, and DataRefusedError if its data cannot be used.
    """
    if params.data.source == DIGITS:
        check_no_columns(params)
        return rendered(params.paths.state / "source" / DIGITS, "render")
    from flows.sources.tables import images_of_table, table_in, table_options
    from tasks.data.tables.files import is_table

    source, trusted, options = MAIN_CHECKOUT / params.data.source, True, table_options(params)
    if params.data.source == ROTATIONS:
        source = rendered(params.paths.state / "source" / ROTATIONS, "render_rotations") / "manifest.csv"
    if source.is_file() and is_archive(source):
        trusted, source = False, unpacked(source, params.paths.state / "source", params.data.archive_limit)
    if source.is_dir():
        source = table_in(source, options, trusted=trusted) or source
    if source.is_file() and is_table(source):
        return images_of_table(source, params.paths.state / "source", options, trusted=trusted)
    _check_folder(source)
    check_no_columns(params)
    if (source / TABLE).exists():
        message = f"data.source: {source} contains {TABLE}, a name that Rootstock reserves: rename that file"
        raise RootstockError(message, key="reserved-name")
    refuse_unusable(source, "data.source", hidden=True)
    refuse_empty_folders(source, params.paths.failed("source") / params.paths.validation_page.name)
    return source


def _check_folder(source: Path) -> None:
    """Raises ParamsError if there is no such folder; a file of labels of another kind is told with its remedy."""
    from tasks.data.tables.files import refuse_other_kind

    if source.is_file():
        refuse_other_kind(source)
    if not source.is_dir():
        message = f"data.source: {source} is no folder, table or archive; {SOURCES}"
        raise ParamsError(message, key="data.source")


def check_no_columns(params: FlowParams) -> None:
    """Raises RootstockError for parameters that apply only to the columns of a table."""
    for name in ("targets", "labels", "separator", "path", "label"):
        if getattr(params.data, name):
            unset = "[]" if name in {"targets", "labels"} else "null"
            raise RootstockError(
                f"data.{name}: only a table has columns; set it to {unset}, or data.source to a table",
                key=f"data.{name}",
            )


def unpacked(archive: Path, folder: Path, max_gib: float) -> Path:
    """Unpacks an archive, once per path, size and mtime, and returns its folder. The limit is in GiB."""
    key = hashlib.sha256(f"{archive.resolve()}:{listing(archive)}".encode()).hexdigest()
    target = folder / f"archive-{key[:16]}"
    return single_folder(target) if target.exists() else unpack(archive, target, max_gib)


def refuse_empty_folders(folder: Path, page: Path) -> None:
    """Raises DataRefusedError and writes a report if a folder is empty: DVC versions only files and would lose it."""
    from tasks.core.files import write_text
    from tasks.data.findings import Finding, sentence
    from tasks.data.suite import CRITICAL
    from tasks.reports.validation_page import findings_page

    folders = (path for path in folder.rglob("*") if path.is_dir() and not any(path.iterdir()))
    names = sorted(path.relative_to(folder) for path in folders)
    empty = tuple(str(name) for name in names if not any(part.startswith(".") for part in name.parts))
    if empty:
        finding = Finding(
            "Every folder holds images", CRITICAL, False, len(empty), empty, "add images, or remove the folder"
        )
        write_text(page, findings_page([finding]))
        message = f"data.source: {folder} was refused:\n{sentence(finding)}\nreport: {page}"
        raise DataRefusedError(message, key="empty-folders")


def rendered(folder: Path, by: str) -> Path:
    """Renders embedded data into `folder`, once, with this function of tasks.embedded.digits. Returns the folder."""
    if not folder.exists():
        from tasks.embedded import digits

        beside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
        shutil.rmtree(beside, ignore_errors=True)
        getattr(digits, by)(beside)
        beside.rename(folder)
    return folder


def _bring_in(source: Path, target: Path, state: Path) -> str:
    """Copies `source` to `target` as a new version, unless its files are unchanged. Returns the outcome.

    Leftovers of an interrupted import into this checkout are replaced; a copy without a version, or whose version has
    changed since (`git pull`), is put aside. Raises RootstockError if `target` is not Rootstock's copy: if it overlaps
    the source, was edited by hand, or was never imported.
    """
    _refuse_overlap(source, target)
    note = state / "source" / f"{target.name}.json"
    current = {"source": str(source.resolve()), "listing": listing(source)}
    last = read_json(note) if note.exists() else {}
    before = dvc_cli.tracked_md5(target) if dvc_cli.dvc_file(target).exists() else None
    if before and target.exists() and last == {**current, "md5": before}:
        return f"unchanged: {_short(source)}"
    if target.exists() and (not before or last.get("md5", before) != before):
        _put_aside(target, note, state)
    elif target.exists() and last != UNFINISHED:
        dvc_cli.refuse_edits(target)
    write_json(note, UNFINISHED)
    dvc_cli.track(source, target)
    after = dvc_cli.tracked_md5(target)
    write_json(note, {**current, "md5": after})
    return f"{'unchanged' if after == before else BROUGHT_IN}: {_short(source)}"


def _refuse_overlap(source: Path, target: Path) -> None:
    """Raises RootstockError if one path is inside the other: the copy would overwrite its source."""
    source_path, target_path = source.resolve(), target.resolve()
    if source_path.is_relative_to(target_path) or target_path.is_relative_to(source_path):
        message = f"{source}: Rootstock copies it to {target}; keep your data in another folder"
        raise RootstockError(message, key="source-overlaps-copy")


def _put_aside(target: Path, note: Path, state: Path) -> None:
    """Puts aside a copy without a version. Raises RootstockError if Rootstock did not make the copy."""
    if not note.exists():
        message = f"{target}: Rootstock's copy goes here, but the present content is in no version: move it away"
        raise RootstockError(message, key="copy-not-versioned")
    put_aside(target, state / "failed" / target.name)


def _short(source: Path) -> str:
    """Returns the path relative to the main checkout if it is inside it, otherwise the path as is."""
    return str(source.relative_to(MAIN_CHECKOUT) if source.is_relative_to(MAIN_CHECKOUT) else source)


def listing(source: Path) -> str:
    """Returns a digest of the names, sizes and mtimes of all files in `source`, without reading their contents."""
    files = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
    facts = [
        (str(path.relative_to(source)), status.st_size, status.st_mtime_ns)
        for path in files
        for status in [path.stat()]
    ]
    return hashlib.sha256(repr(facts).encode()).hexdigest()
