"""Ingest: reads the images in data/raw and writes the manifest, one row per image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from tasks.core.params import Section, StageParams
from tasks.core.paths import Paths
from tasks.core.schema import Column, FolderClasses, Split
from tasks.core.sections import Background, MaxPixels, WhiteLevel

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from tasks.data.ingestion import Source

MAX_PAIRS = 20  # near-duplicates shown
ROW_GROUP = 2**14  # rows of the manifest that are read at a time


class IngestSection(Section):
    """How folders are read, and the fractions of a hash that decides on splits if the source has none."""

    classes: FolderClasses = Field(
        description="auto: the class folders, with a warning if they contain folders; folders; or subfolders: the "
        "folder that an image is directly in"
    )
    validation: float = Field(gt=0, lt=0.5, description="fraction of the groups in the validation split")
    test: float = Field(gt=0, lt=0.5, description="fraction of the groups in the test split")


class IngestParams(StageParams):
    """The parameters that ingest reads."""

    ingest: IngestSection
    max_pixels: MaxPixels = Field(alias="data.max_pixels")
    background: Background = Field(alias="data.background")
    white_level: WhiteLevel = Field(alias="data.white_level")


class IngestReport(Section):
    """The numbers of images per split, classes, images in quarantine, skipped files, and images not seen before."""

    images: dict[str, int]
    classes: int
    quarantined: int
    ignored: int
    new: int


def ingest(paths: Paths, params: IngestParams) -> IngestReport:
    """Writes the manifest, task.json, decoding.json, and the record of the splits.

    Raises DataRefusedError if there are no images, folders fit no layout, or there is only one class.
    """
    from tasks.core.files import replacing, write_json
    from tasks.data import decoding as decodings
    from tasks.data.facts_cache import FactsCache
    from tasks.data.ingestion import Fractions, build_manifest, read_facts, read_source
    from tasks.data.manifest import target_spec, usable
    from tasks.data.near_duplicates import ImageFiles, sheet
    from tasks.data.notes import notes_on_gray
    from tasks.data.split_memory import read_memory

    source = read_source(paths.raw, params.ingest.classes)
    decoding = decodings.resolve(params.max_pixels, params.background, params.white_level)
    cache = FactsCache(paths.facts, decoding)
    new = max(0, len(source.files) - len(cache))
    facts = read_facts(paths.raw, source.files, cache, decoding)
    cache.save(facts)
    files, fractions = ImageFiles(paths.raw, decoding), Fractions(params.ingest.validation, params.ingest.test)
    manifest, record = build_manifest(files, facts, source.labels, fractions, read_memory(paths.splits))
    target = target_spec(usable(manifest))
    with replacing(paths.manifest) as beside:
        manifest.to_parquet(beside, index=False, row_group_size=ROW_GROUP)
    target.save(paths.task)
    decodings.save(paths.decoding, decoding)
    write_json(paths.split_record, record.model_dump(mode="json"))
    if pairs := record.near_duplicates[:MAX_PAIRS]:
        with replacing(paths.near_duplicates) as beside:
            sheet(files, pairs).save(beside, "PNG")
    report = _report(manifest, len(target.classes), len(source.others) + len(source.litter), new)
    notes = [*notes_on_gray(facts, decoding), *record.notes]
    _say_all(source, manifest, notes, f"{len(manifest)} images, {target.summary}", report)
    return report


def _report(manifest: pd.DataFrame, classes: int, ignored: int, new: int) -> IngestReport:
    counts = manifest[Column.SPLIT].value_counts()
    return IngestReport(
        images={split: int(counts.get(split, 0)) for split in Split},
        classes=classes,
        quarantined=int(manifest[Column.QUARANTINE].notna().sum()),
        ignored=ignored,
        new=new,
    )


def _say_all(source: Source, manifest: pd.DataFrame, notes: Sequence[str], summary: str, report: IngestReport) -> None:
    from tasks.core.progress import say
    from tasks.data.layout import similar_labels
    from tasks.data.manifest import label_names
    from tasks.data.notes import left_out

    names = label_names(manifest) or manifest[Column.LABEL].dropna().unique()
    for note in (*left_out(source.others, source.litter), *source.notes, *similar_labels(names), *notes):
        say(note)
    sizes = ", ".join(f"{count} {split}" for split, count in report.images.items())
    say(f"{summary}: {sizes}")
