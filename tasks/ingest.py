"""Ingest: reads the images in data/raw and writes the manifest, one row per image."""

from __future__ import annotations

from pathlib import PurePosixPath

from pydantic import Field

from tasks.core.params import Section, StageParams
from tasks.core.paths import Paths
from tasks.core.schema import Column, Split


class IngestSection(Section):
    """The split fractions for a source without splits. They apply to group hashes, so images never change splits."""

    validation: float = Field(gt=0, lt=0.5, description="fraction of the groups in the validation split")
    test: float = Field(gt=0, lt=0.5, description="fraction of the groups in the test split")


class IngestParams(StageParams):
    """The parameters that ingest reads."""

    ingest: IngestSection


class IngestReport(Section):
    """The numbers of images per split, classes, images in quarantine, and skipped files."""

    images: dict[str, int]
    classes: int
    quarantined: int
    ignored: int


def ingest(paths: Paths, params: IngestParams) -> IngestReport:
    """Writes the manifest and task.json.

    Raises DataRefusedError if there are no images, an image is outside of a class folder, or there is only one class.
    """
    from tasks.core.files import replacing
    from tasks.core.progress import say
    from tasks.data import facts_cache
    from tasks.data.ingestion import build_manifest, read_facts, read_source
    from tasks.data.manifest import target_spec, usable

    source = read_source(paths.raw)
    facts = read_facts(paths.raw, source.files, facts_cache.load(paths.facts))
    facts_cache.save(paths.facts, facts)
    manifest = build_manifest(facts, source.labels, params.ingest.validation, params.ingest.test)
    target = target_spec(usable(manifest))
    with replacing(paths.manifest) as beside:
        manifest.to_parquet(beside, index=False)
    target.save(paths.task)
    counts = manifest[Column.SPLIT].value_counts()
    report = IngestReport(
        images={split: int(counts.get(split, 0)) for split in Split},
        classes=len(target.classes),
        quarantined=int(manifest[Column.QUARANTINE].notna().sum()),
        ignored=len(source.others),
    )
    if source.others:
        kinds = sorted({PurePosixPath(file).suffix.lower() or "without a suffix" for file in source.others})
        say(f"{len(source.others)} files that are not images were skipped: {', '.join(kinds)}")
    sizes = ", ".join(f"{count} {split}" for split, count in report.images.items())
    say(f"{len(manifest)} images, {target.summary}: {sizes}")
    return report
