"""The cells of a table as text, column by column, held within the bounds while they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pmb.bounds import MOST_CELL_CHARACTERS, MOST_CELLS, MOST_COLUMNS, MOST_ROWS
from pmb.errors import BadInput

TEXT = pd.StringDtype("pyarrow", na_value=np.nan)


@dataclass(frozen=True, slots=True)
class Sheet:
    """A file's rows, every cell as text without spaces around it, and how they were read.

    `lines`: of the file; 0 where it has none. `header`: whether its first row names the columns, "yes" or "no"; empty
    where names are part of the format. `left_out`: columns whose cells are no text, each with what they are. `notes`:
    what was taken for granted, each a sentence.
    """

    frame: pd.DataFrame
    lines: int = 0
    header: str = ""
    encoding: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """The names of its columns, in their order."""
        return [str(name) for name in self.frame]


class Columns:
    """Columns of text that grow by batches of rows."""

    def __init__(self, path: Path, titles: Mapping[str, str] | None = None) -> None:
        """Begin without any; `titles`: what columns are called in a sentence, where it is not their name here."""
        self.rows = 0
        self._titles = titles or {}
        self._path = path
        self._chunks: dict[str, list[pa.Array]] = {}

    def add(self, columns: Mapping[str, Sequence[str]], rows: int) -> None:
        """Add a batch; a column that it lacks is empty there. Raises BadInput beyond the bounds."""
        names = self._chunks.keys() | columns.keys()
        check_shape(self._path, self.rows + rows, len(names))
        for name, cells in columns.items():
            array = pa.array(cells, pa.large_string())
            self._check_longest(name, array)
            if name not in self._chunks:
                self._chunks[name] = [_empty(self.rows)] if self.rows else []
            self._chunks[name].append(array)
        for name in names - columns.keys():
            self._chunks[name].append(_empty(rows))
        self.rows += rows

    def frame(self) -> pd.DataFrame:
        """All rows, in the order in which columns came."""
        return pd.DataFrame({name: pd.array(pa.chunked_array(c), dtype=TEXT) for name, c in self._chunks.items()})

    def _check_longest(self, name: str, array: pa.Array) -> None:
        lengths = pc.utf8_length(array)
        longest = pc.max(lengths).as_py() or 0
        if longest > MOST_CELL_CHARACTERS:
            row = self.rows + pc.index(lengths, longest).as_py() + 1
            title = self._titles.get(name, name)
            raise BadInput(
                f"{self._path.name} row {row} has {longest:,} characters in column {title!r}; at most "
                f"{MOST_CELL_CHARACTERS:,} are allowed."
            )


def check_shape(path: Path, rows: int, columns: int) -> None:
    """Raise BadInput where a table has too many rows, columns or cells."""
    for count, most, what in (
        (rows, MOST_ROWS, "rows"),
        (columns, MOST_COLUMNS, "columns"),
        (rows * columns, MOST_CELLS, "cells"),
    ):
        if count > most:
            raise BadInput(f"{path.name} has {count:,} {what}; at most {most:,} are allowed.")


def as_text(cell: object) -> str:
    """A cell without spaces around it; what is missing is empty."""
    return "" if cell is None or cell is pd.NaT or (isinstance(cell, float) and cell != cell) else str(cell).strip()


def _empty(rows: int) -> pa.Array:
    return pa.array([""] * rows, pa.large_string())
