"""Ingest: reads the images in data/raw and writes the manifest, one row per image."""

from __future__ import annotations

from pydantic import Field

from tasks.core.params import Section, StageParams
from tasks.core.paths import Paths
from tasks.core.schema import Column, Split
from tasks.core.sections import Background, MaxPixels, WhiteLevel


class IngestSection(Section):
    """The split fractions for a source without splits. They apply to group hashes, so images never change splits."""

    validation: float = Field(gt=0, lt=0.5, description="fraction of the groups in the validation split")
    test: float = Field(gt=0, lt=0.5, description="fraction of the groups in the test split")


class IngestParams(StageParams):
    """The parameters that ingest reads."""

    ingest: IngestSection
    max_pixels: MaxPixels = Field(alias="data.max_pixels")
    background: Background = Field(alias="data.background")
    white_level: WhiteLevel = Field(alias="data.white_level")


class IngestReport(Section):
    """The numbers of images per split, classes, images in quarantine, and skipped files."""

    images: dict[str, int]
    classes: int
    quarantined: int
    ignored: int


def ingest(paths: Paths, params: IngestParams) -> IngestReport:
    """Writes the manifest, task.json and decoding.json.

    Raises DataRefusedError if there are no images, an image is outside of a class folder, or there is only one class.
    """
    from tasks.core.files import replacing
    from tasks.core.progress import say
    from tasks.data import decoding as decodings
    from tasks.data import facts_cache
    from tasks.data.ingestion import build_manifest, read_facts, read_source
    from tasks.data.manifest import target_spec, usable
    from tasks.data.notes import left_out, notes_on_gray

    source = read_source(paths.raw)
    decoding = decodings.resolve(params.max_pixels, params.background, params.white_level)
    facts = read_facts(paths.raw, source.files, facts_cache.load(paths.facts, decoding), decoding)
    facts_cache.save(paths.facts, facts, decoding)
    manifest = build_manifest(facts, source.labels, params.ingest.validation, params.ingest.test)
    target = target_spec(usable(manifest))
    with replacing(paths.manifest) as beside:
        manifest.to_parquet(beside, index=False)
    target.save(paths.task)
    decodings.save(paths.decoding, decoding)
    counts = manifest[Column.SPLIT].value_counts()
    report = IngestReport(
        images={split: int(counts.get(split, 0)) for split in Split},
        classes=len(target.classes),
        quarantined=int(manifest[Column.QUARANTINE].notna().sum()),
        ignored=len(source.others) + len(source.litter),
    )
    for note in (*left_out(source.others, source.litter), *notes_on_gray(facts, decoding)):
        say(note)
    sizes = ", ".join(f"{count} {split}" for split, count in report.images.items())
    say(f"{len(manifest)} images, {target.summary}: {sizes}")
    return report
