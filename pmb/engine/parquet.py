"""Parquet files of others: judged by what they say of themselves, then read so that no cell is written out twice.

Fifty kilobytes can be twenty gigabytes: a column that repeats one long text names it once in a dictionary, and the
file's own count of bytes leaves the repetitions out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pmb.bounds import MOST_CELL_CHARACTERS, MOST_UNPACKED_MEGABYTES
from pmb.engine.cells import Columns, Sheet, as_text, check_shape
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


def read_parquet(path: Path) -> Sheet:
    """The cells of a file; raises BadInput, ValueError, OSError, and what else pyarrow raises.

    Columns of lists and structs are left out, and so are bytes that are no UTF-8. An index of pandas that has no name
    is no column.
    """
    check_parquet(path)
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
    left_out = {field.name.strip(): f"{field.type}" for field in schema if pa.types.is_nested(field.type)}
    fields = [field for field in schema if not pa.types.is_nested(field.type) and not field.name.startswith(INDEX)]
    names = [field.name for field in fields]
    if len({name.strip() for name in names}) < len(names):
        raise BadInput(f"{path.name} has two columns of one name.")
    for field in fields:
        if pa.types.is_fixed_size_binary(field.type) and field.type.byte_width > MOST_CELL_CHARACTERS:
            raise BadInput(
                f"{path.name} has {field.type.byte_width:,} bytes a cell in column {field.name!r}; at most "
                f"{MOST_CELL_CHARACTERS:,} are allowed."
            )
    _check_cells(path, names)
    columns = Columns(path)
    for batch in _batches(path, names):
        cells = {}
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if name.strip() not in left_out:
                try:
                    cells[name.strip()] = [_as_text(cell) for cell in column.to_pylist()]
                except UnicodeDecodeError:
                    left_out[name.strip()] = "bytes that are no UTF-8"
        columns.add(cells, batch.num_rows)
    frame = columns.frame()
    return Sheet(frame.drop(columns=[name for name in left_out if name in frame]), left_out=left_out)


def _batches(path: Path, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The rows in parts, texts and bytes as indices into a dictionary."""
    with pq.ParquetFile(path) as file:
        texts = [name for name in names if _is_text(file.schema_arrow.field(name).type)]
    with pq.ParquetFile(path, read_dictionary=texts) as file:
        yield from file.iter_batches(BATCH, columns=names)


def _check_cells(path: Path, names: Sequence[str]) -> None:
    """Raise BadInput where the cells would be too large once each is written out; writes none of them out."""
    rows = unpacked = 0
    for batch in _batches(path, names):
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            unpacked += _text_bytes(path, name, column, rows)
            _check_unpacked(path, unpacked)
        rows += batch.num_rows
        check_shape(path, rows, len(names))


def _as_text(cell: object) -> str:
    """A cell as text; bytes are UTF-8, and of a fixed size they end in NULs."""
    return as_text(cell.rstrip(b"\0").decode() if isinstance(cell, bytes) else cell)


def _is_text(kind: pa.DataType) -> bool:
    types = pa.types
    texts = (types.is_string, types.is_large_string, types.is_string_view)
    return any(is_kind(kind) for is_kind in (*texts, types.is_binary, types.is_large_binary, types.is_binary_view))


def _text_bytes(path: Path, name: str, column: pa.Array, before: int) -> int:
    """How many bytes a column of text takes once each of its cells is written out; raises BadInput for a long cell."""
    indices = column.indices if isinstance(column, pa.DictionaryArray) else None
    values = column if indices is None else column.dictionary
    if pa.types.is_fixed_size_binary(values.type):
        return len(column) * values.type.byte_width
    if not _is_text(values.type):
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
