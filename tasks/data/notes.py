"""What ingest says about a source's files: those that were left out, and images that may be read too dark or bright."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from tasks.core.schema import Column
from tasks.data.image_facts import PEAK
from tasks.data.image_files import LITTER_FOLDERS, Listing
from tasks.scorer.decode import WHITE_LEVEL, Decoding

EXAMPLES = 3
DARK_BITS = 14  # 16-bit gray that uses no more bits than this is at most a quarter as bright as white


def left_out(others: Sequence[str], litter: Sequence[str]) -> Iterator[str]:
    """Yields a line on the files that are not images, and one on the litter of programs and systems."""
    if others:
        kinds = Counter(PurePosixPath(file).suffix.lower() or "without a suffix" for file in others)
        yield f"{len(others)} files that are not images were skipped: {', '.join(sorted(kinds))}"
    if litter:
        places = Counter(litter_of(file) for file in litter)
        counts = ", ".join(f"{count} in {place}" for place, count in sorted(places.items()))
        yield f"{len(litter)} files of systems and programs, such as thumbnails, were left out: {counts}"


def reasons(listing: Listing) -> dict[str, str]:
    """Returns why each file that is not an image is left out, by name."""
    kinds = {file: PurePosixPath(file).suffix or "no suffix" for file in listing.others}
    others = {file: f"left out: not an image ({kind})" for file, kind in kinds.items()}
    return others | {file: f"left out: a file of systems and programs ({litter_of(file)})" for file in listing.litter}


def litter_of(file: str) -> str:
    """Returns the folder of litter that a file is in, or its own name if it is litter itself."""
    path = PurePosixPath(file)
    return next((part for part in path.parts[:-1] if part in LITTER_FOLDERS), path.name)


def notes_on_gray(facts: pa.Table, decoding: Decoding) -> Iterator[str]:
    """Yields warnings on 16-bit gray images that use few of their bits, or that are brighter than white."""
    gray = facts.select([Column.PATH, PEAK]).filter(pc.is_valid(facts[PEAK]))
    peaks = dict(zip(gray[Column.PATH].to_pylist(), gray[PEAK].to_pylist(), strict=True))
    if decoding.white_level == WHITE_LEVEL:
        dark = {file: peak.bit_length() for file, peak in peaks.items() if 0 < peak < 2**DARK_BITS}
        if dark:
            bits = max(dark.values())
            yield (
                f"warning: {len(dark)} images of 16-bit gray use at most {bits} bits, so they are read as dark: "
                f"{some(dark)}; if white is {2**bits - 1} in them, set data.white_level: {2**bits - 1}"
            )
    elif bright := [file for file, peak in peaks.items() if peak > decoding.white_level]:
        yield (
            f"warning: {len(bright)} images of 16-bit gray have values above data.white_level, "
            f"{decoding.white_level}, which are cut off: {some(bright)}; the largest is {max(peaks.values())}"
        )


def some(files: Sequence[str] | dict[str, int]) -> str:
    """Returns the first names of a list, with their bits if it has any."""
    names = [f"{file} ({files[file]} bits)" if isinstance(files, dict) else file for file in files]
    return ", ".join(names[:EXAMPLES]) + (", ..." if len(names) > EXAMPLES else "")
