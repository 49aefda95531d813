"""A cache of image facts, keyed by file content, so that only new files have to be decoded.

It is a folder of Parquet files, each for the files whose SHA-256 begins with the same digits: a run writes only those
parts to which it adds facts. What a run computes is also stored as it comes, in a folder beside them, so that the next
run goes on from there if this one is killed. Rows are in memory as columns.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

import imagehash
import numpy as np
import PIL
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.core.digest import code_digest
from tasks.core.files import remove, replacing
from tasks.core.progress import warn
from tasks.core.schema import Column
from tasks.data.image_facts import PEAK, Facts
from tasks.scorer.decode import DEFAULT, Decoding
from tasks.scorer.readers import heif_version

CODE = b"rootstock"  # key of the metadata that says which code computed the facts
TEXT, NUMBER = pa.large_string(), pa.int64()  # the digests of 34 million files are too long for pa.string()
FACTS = pa.schema(
    [
        *((Column.PATH.value, TEXT), (Column.SHA256.value, TEXT), (Column.PIXEL_HASH.value, TEXT)),
        *((Column.PERCEPTUAL_HASH.value, TEXT), (Column.WIDTH.value, NUMBER), (Column.HEIGHT.value, NUMBER)),
        *((Column.MODE.value, TEXT), (Column.QUARANTINE.value, TEXT), (PEAK, NUMBER)),
    ]
)
KEPT = pa.schema([field for field in FACTS if field.name != Column.PATH])  # a path belongs to the file
ROWS = 8192  # converted to columns together
PART_ROWS = 4096  # about, of a part
COMING = "coming"  # the folder of what a run has computed so far
UNUSED = 2  # times as many rows as the last run used may be in the cache


def table_of(rows: Iterable[Facts]) -> pa.Table:
    """Returns facts as a table, with nulls for those that a file does not have."""
    remaining, parts = iter(rows), []
    while part := list(islice(remaining, ROWS)):
        parts.append(pa.Table.from_pylist([{str(name): value for name, value in row.items()} for row in part], FACTS))
    return pa.concat_tables(parts) if parts else FACTS.empty_table()


class FactsCache(Mapping[str, Facts]):
    """The facts of earlier runs by SHA-256. Parts that are damaged, or from other code or settings, are ignored."""

    def __init__(self, folder: Path, decoding: Decoding = DEFAULT) -> None:
        self._folder, self._code = folder, json.dumps(_code(decoding)).encode()
        parts = {file.stem: table for file in sorted(folder.glob("*.parquet")) if (table := self._read(file))}
        batches = sorted((folder / COMING).glob("*.parquet"))
        coming = [table for file in batches if (table := self._read(file))]
        rows = pa.concat_tables([KEPT.empty_table(), *parts.values(), *coming]).combine_chunks()
        first_N = _firsts(rows)
        self._rows = rows if len(first_N) == len(rows) else rows.take(pa.array(first_N))
        self._names, self._batches = {*parts}, int(batches[-1].stem) + 1 if batches else 0
        self._in_parts = int((first_N < sum(map(len, parts.values()))).sum())
        self._columns = {name: self._rows[name].combine_chunks() for name in KEPT.names}
        key_N = _keys(self._rows[Column.SHA256].to_pylist())
        self._order = np.argsort(key_N, kind="stable")
        self._key_N = key_N[self._order]

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows[Column.SHA256].to_pylist())

    def __contains__(self, sha256: object) -> bool:
        return isinstance(sha256, str) and self._find(sha256) is not None

    def __getitem__(self, sha256: str) -> Facts:
        """Returns the facts of a file. Raises KeyError if they are not in the cache."""
        row = self._find(sha256)
        if row is None:
            raise KeyError(sha256)
        facts = {name: column[row].as_py() for name, column in self._columns.items() if name != Column.SHA256}
        return {name: value for name, value in facts.items() if value is not None}

    def _find(self, sha256: str) -> int | None:
        """Returns the number of a file's row, of several the first one."""
        key = np.uint64(int(sha256[:16], 16))
        place = int(np.searchsorted(self._key_N, key))
        while place < len(self._key_N) and self._key_N[place] == key:
            row = int(self._order[place])
            if self._columns[Column.SHA256][row].as_py() == sha256:
                return row
            place += 1
        return None

    def stored(self, facts: Iterable[Facts]) -> Iterator[Facts]:
        """Yields facts, and stores those that are new at once, some thousand together."""
        new: dict[str, Facts] = {}
        for row in facts:
            if Column.SHA256 in row and row[Column.SHA256] not in self:
                new[row[Column.SHA256]] = row
            if len(new) == ROWS:
                self._write(f"{COMING}/{self._batches:06}", table_of(new.values()).select(KEPT.names))
                self._batches += 1
                new.clear()
            yield row

    def save(self, facts: pa.Table) -> None:
        """Adds the facts of a run, and forgets others if there are too many. Unreadable files have no digest."""
        used = _distinct(facts.select(KEPT.names).filter(pc.is_valid(facts[Column.SHA256])))
        places = [self._find(sha256) for sha256 in used[Column.SHA256].to_pylist()]
        new = used.filter(pa.array([place is None or place >= self._in_parts for place in places], pa.bool_()))
        rows = pa.concat_tables([self._rows[: self._in_parts], new])
        files = {file.stem for file in self._folder.glob("*.parquet")}
        begin_anew = files != self._names or len(rows) > UNUSED * len(used)
        rows = (used if begin_anew else rows).combine_chunks()  # otherwise, each part would do it
        digits = max(0, round(math.log(max(len(rows), 1) / PART_ROWS, 16)))
        parts, touched = _by_part(rows, digits), _by_part(new, digits).keys()
        for name in parts if begin_anew or files - parts.keys() else touched:
            self._write(name, rows.take(pa.array(parts[name])))
        for name in files - parts.keys():
            remove(self._folder / f"{name}.parquet")
        remove(self._folder / COMING)

    def _read(self, file: Path) -> pa.Table | None:
        try:
            with pq.ParquetFile(file, page_checksum_verification=True) as opened:
                table = opened.read()
            table.validate(full=True)
            code, schema = (table.schema.metadata or {}).get(CODE), table.schema.remove_metadata()
        except FileNotFoundError:
            return None
        except (OSError, ValueError, pa.ArrowException) as error:
            warn(f"{file} is damaged ({error}); its images are read again")
            return None
        return table.replace_schema_metadata() if code == self._code and schema == KEPT else None

    def _write(self, name: str, rows: pa.Table) -> None:
        with replacing(self._folder / f"{name}.parquet") as beside:
            pq.write_table(rows.replace_schema_metadata({CODE: self._code}), beside, write_page_checksum=True)


def _distinct(rows: pa.Table) -> pa.Table:
    """Returns one row for each digest."""
    return rows.take(pa.array(_firsts(rows)))


def _firsts(rows: pa.Table) -> np.ndarray:
    """Returns the numbers of the first row of each digest, in order."""
    return np.sort(np.unique(_keys(rows[Column.SHA256].to_pylist()), return_index=True)[1])


def _by_part(rows: pa.Table, digits: int) -> dict[str, np.ndarray]:
    """Returns the numbers of the rows of each part, by its name: the first digits of their digests, or `all`."""
    key_N = _keys(rows[Column.SHA256].to_pylist())
    part_N = key_N >> np.uint64(64 - 4 * digits) if digits else np.zeros_like(key_N)
    order = np.argsort(part_N, kind="stable")
    parts, starts = np.unique(part_N[order], return_index=True)
    names = (f"{part:0{digits}x}" if digits else "all" for part in parts)
    return dict(zip(names, np.split(order, starts)[1:], strict=True))


def _keys(sha256s: list[str]) -> np.ndarray:
    """Returns the first 64 bits of digests, (N,) uint64."""
    return np.array([int(sha256[:16], 16) for sha256 in sha256s], np.uint64)


def _code(decoding: Decoding) -> list[str]:
    """Returns everything besides the file content that facts depend on: versions, the code digest and settings."""
    versions = [PIL.__version__, str(heif_version()), imagehash.__version__]
    return [*versions, code_digest(__name__, "tasks.data.image_facts"), repr(decoding)]
