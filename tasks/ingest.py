"""Ingest: from the images in data/raw to the manifest, one row an image."""

from __future__ import annotations

from pathlib import PurePosixPath

from pydantic import Field

from tasks.core.errors import DataRefusedError
from tasks.core.params import Section, StageParams
from tasks.core.paths import Paths
from tasks.core.schema import TABLE, Column, Split


class IngestSection(Section):
    """How a source without splits of its own is divided; decided per group by hash, for ever."""

    validation: float = Field(gt=0, lt=0.5, description="fraction of the groups that models are chosen on")
    test: float = Field(gt=0, lt=0.5, description="fraction of the groups that models are scored on")


class IngestParams(StageParams):
    """What ingest reads of params.yaml."""

    ingest: IngestSection


class IngestReport(Section):
    """Images in each split, classes, files in quarantine, and files that are no images."""

    images: dict[str, int]
    classes: int
    quarantined: int
    ignored: int


def ingest(paths: Paths, params: IngestParams) -> IngestReport:
    """Writes the manifest. Raises DataRefusedError if there is no image, one outside a class folder, or one class."""
    import pandas as pd

    from tasks.core.files import replacing
    from tasks.core.progress import counted, say
    from tasks.data import facts_cache as inspected
    from tasks.data import image_files as images
    from tasks.data import splits
    from tasks.data.manifest import target_spec, usable

    table = paths.raw / TABLE
    said = pd.read_parquet(table) if table.exists() else None
    files, others = images.find(paths.raw) if said is None else (list(said[Column.PATH]), [])
    if not files:
        raise DataRefusedError(f"no images below {paths.raw} ({', '.join(sorted(images.SUFFIXES))}): {splits.LAYOUT}")
    read = images.facts(paths.raw, files, inspected.recalled(paths.facts))
    found = list(counted(read, len(files), "images read"))
    inspected.remember(paths.facts, found)
    facts = pd.DataFrame(found, columns=list(COLUMNS))
    said = splits.label_and_split(files) if said is None else said.drop(columns=Column.PATH)
    rows = facts.copy()
    rows[said.columns] = said
    own = facts[Column.PIXEL_HASH].fillna(facts[Column.SHA256]).fillna(facts[Column.PATH])
    rows[Column.GROUP] = rows[Column.GROUP].astype("string").fillna(own)
    rows[Column.WEIGHT] = rows[Column.WEIGHT].astype(float).fillna(1.0)
    rows[Column.SPLIT] = splits.complete(rows, params.ingest.validation, params.ingest.test)
    target = target_spec(usable(rows))
    with replacing(paths.manifest) as beside:
        rows.astype(COLUMNS).to_parquet(beside, index=False)
    target.save(paths.task)
    counts = rows[Column.SPLIT].value_counts()
    report = IngestReport(
        images={split: int(counts.get(split, 0)) for split in Split},
        classes=len(target.classes),
        quarantined=int(rows[Column.QUARANTINE].notna().sum()),
        ignored=len(others),
    )
    if others:
        kinds = sorted({PurePosixPath(file).suffix.lower() or "without a suffix" for file in others})
        say(f"{len(others)} files are no images and left out: {', '.join(kinds)}")
    say(f"{len(rows)} images, {target.summary}: " + ", ".join(f"{n} {split}" for split, n in report.images.items()))
    return report


COLUMNS = {
    Column.PATH: "string",
    Column.SHA256: "string",
    Column.PIXEL_HASH: "string",
    Column.PERCEPTUAL_HASH: "string",
    Column.WIDTH: "Int64",
    Column.HEIGHT: "Int64",
    Column.MODE: "string",
    Column.LABEL: "string",
    Column.SPLIT: "string",
    Column.GROUP: "string",
    Column.WEIGHT: "float64",
    Column.QUARANTINE: "string",
}
