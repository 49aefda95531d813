"""Images beside a table, and the reading of a table of any format."""

from __future__ import annotations

import pandas as pd
import pytest

from tasks.data.tables.options import TableOptions
from tasks.data.tables.table import read_table
from tests.drawn import SHAPES, write_shapes


class Tables:
    """A folder with four images per shape, beside which a test writes tables."""

    def __init__(self, folder):
        self.folder = write_shapes(folder, {"": 4})
        names = [(shape, f"{shape}/{number}.png") for shape in SHAPES for number in range(4)]
        self.frame = pd.DataFrame({"path": [name for _, name in names], "label": [shape for shape, _ in names]})

    def write(self, content, name="t.csv", encoding="utf-8"):
        """Writes a text, bytes or a frame, and returns the file."""
        file = self.folder / name
        if isinstance(content, pd.DataFrame):
            content.to_parquet(file) if name.endswith(".parquet") else content.to_csv(file, index=False)
        else:
            file.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return file

    def rows(self, content, name="t.csv", encoding="utf-8", **options):
        """Returns the rows of a table with this content."""
        return read_table(self.write(content, name, encoding), TableOptions(**options)).rows


@pytest.fixture
def tables(tmp_path):
    return Tables(tmp_path / "pictures")
