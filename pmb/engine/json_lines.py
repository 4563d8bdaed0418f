"""JSON lines: one object a line, whose texts, numbers and truth values are cells; lists and objects are none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from pmb.engine.cells import Columns, Sheet, as_text, check_shape
from pmb.engine.text_files import Lines, look_into
from pmb.errors import BadInput
from pmb.strict import parse, read_as

BATCH_CELLS = 50_000
NESTED = {b"[": "lists", b"{": "objects"}  # by how they begin
ROW = msgspec.json.Decoder(dict[str, msgspec.Raw])  # what is nested is checked, but not built


def read_json_lines(path: Path, encoding: str) -> Sheet:
    """Read all lines; a name that a line lacks is an empty cell there. Raises BadInput, OSError."""
    file = look_into(path, encoding)
    columns, left_out = Columns(path), dict[str, str]()
    batch: dict[str, list[str]] = {}
    names, rows = set[str](), 0
    with file.open("\n") as opened:
        lines = Lines(opened, path.name)
        lines.next_row()  # none of them is a header
        for line in lines:
            lines.next_row()
            if not line.strip():
                continue
            for name, value in _values(line, f"{path.name} line {lines.number}").items():
                if kind := NESTED.get(bytes(value)[:1]):
                    left_out.setdefault(name, f"{kind} (line {lines.number})")
                else:
                    cell = as_text(parse(bytes(value), f"{path.name} line {lines.number}"))
                    batch.setdefault(name, [""] * rows).append(cell)
            rows += 1
            for cells in batch.values():
                cells += [""] * (rows - len(cells))
            names |= batch.keys()
            check_shape(path, columns.rows + rows, len(names))
            if rows * len(batch) >= BATCH_CELLS:
                columns.add(batch, rows)
                batch, rows = {}, 0
        columns.add(batch, rows)
    frame = columns.frame()
    frame = frame.drop(columns=[name for name in left_out if name in frame])
    return Sheet(frame, lines.number, encoding=file.encoding, left_out=left_out, notes=file.notes)


def _values(line: str, what: str) -> Mapping[str, msgspec.Raw]:
    """The values of a line by their names, not read yet; raises BadInput."""
    try:
        values = ROW.decode(line)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        read_as(dict[str, Any], parse(line, what), what)  # says what is wrong
        raise
    named = {name.strip(): value for name, value in values.items()}
    if len(named) < len(values):
        raise BadInput(f"{what} has two values of one name.")
    return named
