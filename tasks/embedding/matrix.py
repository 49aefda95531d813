"""Writes and reads the feature matrix, whose parts are mapped into memory, and its index.

Shapes: N rows, D features.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from tasks.core.files import replacing, replacing_folder
from tasks.core.paths import Paths
from tasks.core.schema import FEATURES
from tasks.models import weights_file


def write_features(paths: Paths, parts: Iterable[tuple[Tensor, pd.DataFrame]]) -> int:
    """Writes features (N, D) with a row each of the index, part by part. Returns the number of rows."""
    rows, writer = 0, None
    with replacing(paths.index) as index, replacing_folder(paths.matrix) as matrix:
        for number, (x_ND, frame) in enumerate(parts):
            weights_file.write(matrix / f"{number:06}.safetensors", {FEATURES: x_ND})
            table = pa.Table.from_pandas(frame, preserve_index=False, schema=writer.schema if writer else None)
            writer = writer or pq.ParquetWriter(index, table.schema)
            writer.write_table(table, row_group_size=len(table))
            rows += len(frame)
        if writer:
            writer.close()
    return rows


def read_features(paths: Paths) -> Iterator[tuple[Tensor, pd.DataFrame]]:
    """Yields the features of each part, (N, D), mapped from its file, with their rows of the index."""
    with pq.ParquetFile(paths.index, pre_buffer=False) as index:
        for number, file in enumerate(matrix_files(paths.matrix)):
            yield weights_file.read(file)[0][FEATURES], index.read_row_group(number).to_pandas()


def matrix_files(folder: Path) -> list[Path]:
    """Returns the files of the parts, in order."""
    return sorted(folder.glob("*.safetensors"))
