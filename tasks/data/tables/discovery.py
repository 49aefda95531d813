"""Finds the table in a folder or in an unpacked archive, and recognizes packed data sets that are not read."""

from __future__ import annotations

from pathlib import Path

from tasks.core.errors import DataRefusedError
from tasks.core.progress import say
from tasks.data.image_files import find
from tasks.data.tables.cells import listed
from tasks.data.tables.columns import find_path_column, has_usual_labels
from tasks.data.tables.files import COLUMNAR, OTHER_KINDS, WITH_FILES, is_table, read_frame
from tasks.data.tables.locations import Locations
from tasks.data.tables.options import TableOptions

SHARD_LABELS = frozenset({".cls", ".json", ".txt", ".caption"})  # beside each image of a WebDataset shard


def table_in_archive(folder: Path, options: TableOptions) -> Path | None:
    """Returns the table at the top of an unpacked archive: `manifest`, or the only one that names images.

    Raises DataRefusedError if several tables name images, or if the archive is a WebDataset shard.
    """
    tables = _tables(folder)
    fitting = [file for file in tables if file.name.startswith("manifest.")] or [
        file for file in tables if _names_images(file, options)
    ]
    if len(fitting) > 1:
        raise DataRefusedError(
            f"data.source: which table in the archive is it: {' or '.join(file.name for file in fitting)}? Unpack the "
            "archive and set data.source to the table, or leave out the others",
            key="several-tables",
        )
    if not fitting:
        _refuse_shard(folder)
    elif not fitting[0].name.startswith("manifest."):
        say(f"the labels are read from {fitting[0].name} in the archive")
    return fitting[0] if fitting else None


def table_in_folder(folder: Path, options: TableOptions) -> Path | None:
    """Returns `metadata.csv`, `.jsonl` or `.parquet` if it has labels for the images beside it.

    Says so, and also if there is a table that is not used. Raises DataRefusedError for several metadata tables.
    """
    tables = _tables(folder)
    metadata = [file for file in tables if file.name.startswith("metadata.") and _names_images(file, options)]
    if len(metadata) > 1:
        names = " or ".join(file.name for file in metadata)
        raise DataRefusedError(f"data.source: which table is it: {names}? Set data.source to it", key="several-tables")
    if metadata and _has_labels(metadata[0], options):
        say(f"{folder.name}: the labels are read from {metadata[0].name}")
        return metadata[0]
    if tables:
        names = listed([file.name for file in tables])
        say(f"{folder.name}: the folders are the labels, and {names} was not used; to use it, set data.source to it")
    return None


def refuse_packed(folder: Path) -> None:
    """Raises DataRefusedError, with what to do, for a folder without images in which a data set is packed."""
    packed = [path for path in folder.rglob("*") if _is_packed(path)]
    if packed and not find(folder)[0]:
        remedy = OTHER_KINDS.get(packed[0].suffix.lower(), WITH_FILES)
        raise DataRefusedError(
            f"data.source: {folder} contains no image files, but {packed[0].relative_to(folder)}: such files are not "
            f"unpacked; {remedy}",
            key="packed-data",
        )


def _is_packed(path: Path) -> bool:
    suffix = path.suffix.lower()
    return suffix == ".tar" or suffix in COLUMNAR or suffix in OTHER_KINDS


def _tables(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and is_table(path) and path.name[0] != ".")


def _names_images(file: Path, options: TableOptions) -> bool:
    """Returns whether data.path, or a column with a usual name, leads to files."""
    try:
        frame, locations = read_frame(file), Locations(file)
        column = find_path_column(file, frame, options.path, locations.lead_to_files)
    except DataRefusedError:
        return False
    return not frame.empty and locations.lead_to_files(frame[column])


def _has_labels(file: Path, options: TableOptions) -> bool:
    return not options.has_default_values or has_usual_labels(read_frame(file))


def _refuse_shard(folder: Path) -> None:
    """Raises DataRefusedError if each image at the top has a file of labels with the same name: a WebDataset shard."""
    top = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    keys = {path.name.partition(".")[0] for path in top if path.suffix.lower() in SHARD_LABELS}
    images = [path for path in find(folder)[0] if "/" not in path]
    if images and all(image.partition(".")[0] in keys for image in images):
        raise DataRefusedError(
            f"data.source: the archive has a file of labels beside each image, such as {images[0]}, like a WebDataset "
            "shard; such files are not read: unpack it, and write a .csv table with the columns path and label",
            key="packed-data",
        )
