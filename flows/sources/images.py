"""Imports the images and weights that params.yaml names, versioned by DVC; `make data` runs only this."""

from __future__ import annotations

from pathlib import Path

from flows.config.parameters import DIGITS, FlowParams
from flows.sources import split_memory
from flows.sources.addresses import is_address
from flows.sources.candidates import candidates_of
from flows.sources.copies import BROUGHT_IN, import_copy
from flows.sources.names import SOURCES, check_names
from flows.sources.registry_pins import pin
from flows.sources.source import Files, source_of
from flows.sources.weights import teacher_of
from flows.stages import dvc_versions
from tasks.core.errors import DataRefusedError, ParamsError, RootstockError
from tasks.core.schema import TABLE
from tasks.data.image_files import refuse_unusable


def bring_in(params: FlowParams) -> dict[str, str]:
    """Imports the images, weights and teacher that the parameters name, if changed. Returns the outcome of each.

    New images bring the splits of earlier versions with them.
    """
    check_names(params)
    pin(params)
    name = params.data.source if is_address(params.data.source) else None
    outcomes = {
        "images": import_copy(images_of(params), params.paths.raw, params.paths.state, name),
        "weights": import_copy(candidates_of(params), params.paths.candidates, params.paths.state),
        "teacher": import_copy(teacher_of(params), params.paths.teacher, params.paths.state),
    }
    if any(outcome.startswith(BROUGHT_IN) for outcome in outcomes.values()):
        dvc_versions.remove_leftovers()
    if outcomes["images"].startswith(BROUGHT_IN) or split_memory.is_contradicted(params.paths):
        split_memory.renew(params.paths)
    return outcomes if params.teacher.weights else {name: outcomes[name] for name in ("images", "weights")}


def images_of(params: FlowParams) -> Path:
    """Returns the folder of images of data.source, after what is not on this machine as files has been brought here.

    Raises RootstockError if there is no such source, and DataRefusedError if its data cannot be used.
    """
    if params.data.source == DIGITS:
        check_no_columns(params)
    files = source_of(params.data).read(params.paths.state / "source")
    return files.path if params.data.source == DIGITS else _usable(files, params)


def _usable(files: Files, params: FlowParams) -> Path:
    """Returns the folder of images, those of a table brought together. Raises an error if they cannot be used."""
    from flows.sources.tables import images_of_table, table_in, table_options
    from tasks.data.tables.files import is_table

    source, options = files.path, table_options(params)
    if source.is_dir():
        source = table_in(source, options, in_archive=files.in_archive) or source
    if source.is_file() and is_table(source):
        return images_of_table(source, params.paths.state / "source", options, trusted=files.trusted)
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
