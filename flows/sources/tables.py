"""Finds the table of a source, and brings its images together. Imported when needed, since it loads pandas."""

from __future__ import annotations

import hashlib
from pathlib import Path

from flows.config.parameters import FlowParams
from tasks.data.tables.copying import bring_together
from tasks.data.tables.discovery import refuse_packed, table_in_archive, table_in_folder
from tasks.data.tables.options import TableOptions


def table_options(params: FlowParams) -> TableOptions:
    """Returns the parameters that say what a table's columns mean."""
    data = params.data
    return TableOptions(data.targets, data.separator, data.path, data.label, data.labels)


def table_in(folder: Path, options: TableOptions, *, in_archive: bool) -> Path | None:
    """Returns the table that an archive or a folder of images contains. Raises DataRefusedError for packed images."""
    table = table_in_archive(folder, options) if in_archive else table_in_folder(folder, options)
    if table is None:
        refuse_packed(folder)
    return table


def images_of_table(table: Path, folder: Path, options: TableOptions, *, trusted: bool) -> Path:
    """Copies a table's images to a folder in `folder`, which the path of the table and the parameters name."""
    key = hashlib.sha256(repr((str(table.resolve()), options)).encode()).hexdigest()
    return bring_together(table, folder / f"table-{key[:16]}", options, trusted=trusted)
