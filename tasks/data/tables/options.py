"""The parameters that say what a table's columns mean."""

from __future__ import annotations

from dataclasses import astuple, dataclass

from tasks.core.errors import DataRefusedError


@dataclass(frozen=True)
class TableOptions:
    """The columns `path` and `label` (None: found by their names), and the kind of target.

    `labels` are columns of 0 and 1, `targets` columns of numbers; `separator` splits the cells of the label column.
    """

    targets: tuple[str, ...] = ()
    separator: str | None = None
    path: str | None = None
    label: str | None = None
    labels: tuple[str, ...] = ()

    @property
    def has_default_values(self) -> bool:
        """Returns whether no parameter is set."""
        return not any(astuple(self))

    @property
    def has_label_column(self) -> bool:
        """Returns whether labels are read from one column of text."""
        return not (self.targets or self.labels)

    @property
    def keeps_blanks(self) -> bool:
        """Returns whether a label cell of blanks has a meaning: it contains only the separator."""
        return self.separator is not None and not self.separator.strip()

    def check(self) -> None:
        """Raises DataRefusedError for parameters that exclude each other."""
        present = [name for name in ("labels", "separator", "targets") if getattr(self, name)]
        if len(present) > 1:
            raise DataRefusedError(
                f"data.{present[0]}: cannot be combined with {present[1]}; keep one of them, and set the other to "
                f"{'null' if present[1] == 'separator' else '[]'}",
                key=f"data.{present[0]}",
            )
        if self.label and not self.has_label_column:
            raise DataRefusedError(
                f"data.label: cannot be combined with data.{present[0]}; set it to null", key="data.label"
            )
