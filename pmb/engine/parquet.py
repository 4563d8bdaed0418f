"""Parquet files of others: judged by what they say of themselves, then read so that no cell is written out twice.

Fifty kilobytes can be twenty gigabytes: a column that repeats one long text names it once in a dictionary, and the
file's own count of bytes leaves the repetitions out.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pmb.bounds import MOST_CELL_CHARACTERS, MOST_CELLS, MOST_COLUMNS, MOST_ROWS, MOST_UNPACKED_MEGABYTES
from pmb.errors import BadInput

BATCH = 1000  # rows that are unpacked at a time
BYTES_A_MEGABYTE = 1_000_000
BYTES_A_CHARACTER = 4  # at most, in UTF-8
INDEX = "__index_level_"  # as pandas calls an index without a name


def check_parquet(path: Path) -> None:
    """Raise BadInput where a file says that it is too large; reads no column. Raises ValueError, OSError."""
    with pq.ParquetFile(path) as file:
        found = file.metadata
        groups = [found.row_group(i).total_byte_size for i in range(found.num_row_groups)]
    check_shape(path, found.num_rows, found.num_columns)
    _check_unpacked(path, sum(groups))


def check_shape(path: Path, rows: int, columns: int) -> None:
    """Raise BadInput where a table has too many rows, columns or cells."""
    for count, most, what in (
        (rows, MOST_ROWS, "rows"),
        (columns, MOST_COLUMNS, "columns"),
        (rows * columns, MOST_CELLS, "cells"),
    ):
        if count > most:
            raise BadInput(f"{path.name} has {count:,} {what}; at most {most:,} are allowed.")


def read_parquet(path: Path) -> dict[str, list[Any]]:
    """The columns of a file as values; raises BadInput, ValueError, OSError, and what else pyarrow raises.

    Columns of lists and structs are left out, and so is an index of pandas that has no name.
    """
    check_parquet(path)
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
    names = [field.name for field in schema if not pa.types.is_nested(field.type) and not field.name.startswith(INDEX)]
    if len(set(names)) < len(names):
        raise BadInput(f"{path.name} has two columns of one name.")
    columns: dict[str, list[Any]] = {name: [] for name in names}
    unpacked = 0
    with pq.ParquetFile(path, read_dictionary=[name for name in names if _is_text(schema.field(name).type)]) as file:
        for batch in file.iter_batches(BATCH, columns=names):
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                unpacked += _text_bytes(path, name, column, len(columns[name]))
                _check_unpacked(path, unpacked)
                columns[name] += column.to_pylist()
            if columns:
                check_shape(path, len(next(iter(columns.values()))), len(columns))
    return columns


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind)


def _text_bytes(path: Path, name: str, column: pa.Array, before: int) -> int:
    """How many bytes a column of text takes once each of its cells is written out; raises BadInput for a long cell."""
    indices = column.indices if isinstance(column, pa.DictionaryArray) else None
    values = column if indices is None else column.dictionary
    if not (_is_text(values.type) or pa.types.is_large_binary(values.type)):
        return 0
    lengths = pc.binary_length(values)
    lengths = lengths if indices is None else lengths.take(indices)
    longest = pc.max(lengths).as_py() or 0
    if longest > MOST_CELL_CHARACTERS * BYTES_A_CHARACTER:
        row = before + pc.index(lengths, longest).as_py() + 1
        raise BadInput(
            f"{path.name} row {row} has {longest:,} bytes in column {name!r}; at most {MOST_CELL_CHARACTERS:,} "
            "characters are allowed."
        )
    return int(pc.sum(lengths).as_py() or 0)


def _check_unpacked(path: Path, count: int) -> None:
    if (megabytes := math.ceil(count / BYTES_A_MEGABYTE)) > MOST_UNPACKED_MEGABYTES:
        raise BadInput(f"{path.name} has {megabytes:,} MB unpacked; at most {MOST_UNPACKED_MEGABYTES:,} are allowed.")
