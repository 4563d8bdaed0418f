"""CSV and TSV as people have them: other separators, Excel's own first line, stray quotes, no header.

Another reading than the usual one is taken only where every row of the file fits it, and a note says so.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from pmb.bounds import MOST_ROW_CHARACTERS
from pmb.engine.cells import TEXT, Columns, Sheet, check_shape
from pmb.engine.labels import as_numbers
from pmb.engine.text_files import Lines, TextFile, look_into
from pmb.errors import BadInput

SEPARATORS = {",": "Commas", ";": "Semicolons", "\t": "Tabs", "|": "Vertical bars"}
SEPARATOR_LINE = re.compile(r'"?sep=([,;\t|])"?\s*', re.IGNORECASE)  # Excel writes it before the header
SAMPLE_ROWS = 200  # by which the separator is chosen
SAMPLE_CHARACTERS = 100_000
BATCH_CELLS = 200_000

# What quotes are. Within a cell in quotes, a quote is written twice or after a backslash.
DOUBLED, ESCAPED, CHARACTERS = "doubled", "escaped", "characters"
QUOTING: dict[str, dict[str, Any]] = {DOUBLED: {}, ESCAPED: {"doublequote": False, "escapechar": "\\"}}
csv.field_size_limit(MOST_ROW_CHARACTERS)  # longer cells are named with their row and column


@dataclass(frozen=True, slots=True)
class Dialect:
    """How characters become cells; the first `skipped` lines are no rows."""

    separator: str
    quotes: str
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """What a dialect makes of a file; the columns of all rows but the first are named by their number, from 1."""

    dialect: Dialect
    first: list[str]
    others: pd.DataFrame
    lines: int
    short_rows: int  # with fewer cells than the first
    long_rows: int  # that go over several lines
    quote_first: int  # cells that begin with a quote, where quotes are characters
    in_quotes: int  # cells that begin and end with one

    @property
    def empty_cells(self) -> int:
        """How many cells are empty."""
        return sum(int((self.others[name] == "").sum()) for name in self.others)


def read_delimited(path: Path, header: str, encoding: str, names: Sequence[Sequence[str]]) -> Sheet:
    """Read a CSV or TSV file; raises BadInput, OSError.

    `header`: whether the first row names the columns: "yes", "no", or "" to find out. `names`: groups of names that
    columns often have, in small letters.
    """
    file = look_into(path, encoding)
    separator, skipped = _separator(file)
    reading = _best_reading(file, separator, skipped)
    header = header or ("yes" if _is_header(reading, names) else "no")
    frame, dropped = _named(path, reading, header)
    notes = [*file.notes, *_notes(path, reading, header)]
    if dropped:
        notes.append(f"{dropped} column{'s' * (dropped > 1)} without a name and without content left out.")
    return Sheet(frame, reading.lines, header, file.encoding, notes=tuple(notes))


# =============================================================================
# Separator
# =============================================================================


def _separator(file: TextFile) -> tuple[str, int]:
    """The separator that the file states or that its first rows fit, and how many lines come before the rows.

    Where several fit, the one that makes the most columns is right; then the one that no space follows, since after a
    comma within a sentence there is one.
    """
    usual = _usual_separator(file.path)
    with file.open("") as opened:
        sample = opened.read(SAMPLE_CHARACTERS)
    if stated := SEPARATOR_LINE.match(sample):
        return stated[1], 1
    widths = {sign: _widths(file, sign) for sign in dict.fromkeys([usual, *SEPARATORS])}
    fitting = [sign for sign, (width, fits) in widths.items() if fits and width > 1]
    if fitting:
        spaces = {sign: sample.count(sign + " ") / max(1, sample.count(sign)) for sign in fitting}
        return min(fitting, key=lambda sign: (-widths[sign][0], spaces[sign])), 0
    return max(widths, key=lambda sign: widths[sign][0] > 1), 0


def _usual_separator(path: Path) -> str:
    return "\t" if path.suffix.lower() == ".tsv" else ","


def _usual_quotes(file: TextFile, separator: str) -> str:
    return CHARACTERS if separator == "\t" or not file.has_quotes else DOUBLED


def _widths(file: TextFile, separator: str) -> tuple[int, bool]:
    """How many cells the first row has with this separator, and whether the next rows have as many."""
    dialect = Dialect(separator, _usual_quotes(file, separator))
    first: list[str] = []
    fits = 0
    try:
        with _opened(file, dialect) as lines:
            for row in islice(_rows(lines, dialect), SAMPLE_ROWS):
                if not first:
                    first = row
                elif len(_trimmed(row)) > len(first) or len(row) < len(_trimmed(first)):
                    return len(_trimmed(first)), False
                else:
                    fits += 1
    except BadInput:
        return len(_trimmed(first)), False
    return len(_trimmed(first)), fits > 0


# =============================================================================
# Rows
# =============================================================================


def _best_reading(file: TextFile, separator: str, skipped: int) -> Reading:
    """The usual reading, or another where the usual one does not fit all rows and the other does; raises BadInput.

    A stray quote can make one cell of many rows. So where cells go over lines, but each line by itself is a row as long
    as the first, with no more empty cells and no cell in quotes, quotes are characters.
    """
    usual = _usual_quotes(file, separator)
    best, problem = None, BadInput("")
    try:
        best = _read(file, Dialect(separator, usual, skipped))
    except BadInput as error:
        problem = error
    if best and not best.short_rows and not best.long_rows:
        return best
    others = []
    if file.has_quotes:
        others = [DOUBLED] if usual == CHARACTERS else [CHARACTERS]
    if file.has_escaped_quotes and not best:
        others.insert(0, ESCAPED)
    for quotes in others:
        try:
            other = _read(file, Dialect(separator, quotes, skipped), exact=True)
        except BadInput:
            continue
        if not other.in_quotes and (best is None or other.empty_cells <= best.empty_cells):
            return other
    if best is None:
        raise problem
    return best


def _read(file: TextFile, dialect: Dialect, exact: bool = False) -> Reading:
    """Read all rows; `exact`: each has to have as many cells as the first. Raises BadInput."""
    columns = Columns(file.path)
    first: list[str] = []
    batch: list[list[str]] = []
    short_rows = long_rows = quote_first = in_quotes = before = 0
    with _opened(file, dialect) as lines:
        for row in _rows(lines, dialect):
            long_rows, before = long_rows + (lines.number - before > 1), lines.number
            cells = [cell.strip() for cell in row]
            if dialect.quotes == CHARACTERS and file.has_quotes:
                begun = [cell for cell in cells if cell.startswith('"')]
                quote_first += len(begun)
                in_quotes += sum(cell.endswith('"') and len(cell) > 1 for cell in begun)
            if not first:
                check_shape(file.path, 0, len(_trimmed(cells)))
                first, long_rows = cells, 0
                columns = Columns(file.path, {str(i): cell for i, cell in enumerate(cells, 1) if cell})
                continue
            if len(cells) != len(first):
                cells = _as_long(file, lines.number, cells, len(first), exact)
                short_rows += len(row) < len(first)
            batch.append(cells)
            if len(batch) * len(first) >= BATCH_CELLS:
                _add(columns, batch)
                batch = []
        _add(columns, batch)
        number = lines.number
    if not first:
        raise BadInput(f"{file.path.name} is empty.")
    return Reading(dialect, first, columns.frame(), number, short_rows, long_rows, quote_first, in_quotes)


def _add(columns: Columns, batch: list[list[str]]) -> None:
    if batch:
        columns.add({str(i): cells for i, cells in enumerate(zip(*batch, strict=True), 1)}, len(batch))


def _as_long(file: TextFile, line: int, cells: list[str], width: int, exact: bool) -> list[str]:
    """A row as long as the first: empty cells at its end count for nothing. Raises BadInput."""
    if len(_trimmed(cells)) > width or exact:
        hint = " Quotes are characters in a TSV." if _usual_separator(file.path) == "\t" and file.has_quotes else ""
        raise BadInput(f"{file.path.name} line {line} has {len(cells)} cells, its first row {width}.{hint}")
    return cells[:width] + [""] * (width - len(cells))


def _trimmed(row: list[str]) -> list[str]:
    """A row without the empty cells at its end."""
    width = len(row)
    while width and not row[width - 1].strip():
        width -= 1
    return row[:width]


class _opened:
    """The lines of a file, closed after use; where quotes are characters, a line ends at a newline alone."""

    def __init__(self, file: TextFile, dialect: Dialect) -> None:
        newline = ("\n" if file.has_newlines else "\r") if dialect.quotes == CHARACTERS else ""
        self._file, self._name = file.open(newline), file.path.name

    def __enter__(self) -> Lines:
        return Lines(self._file, self._name)

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _rows(lines: Lines, dialect: Dialect) -> Iterator[list[str]]:
    """The rows that are not empty; raises BadInput with the line at fault."""
    for _ in range(dialect.skipped):
        next(lines, "")
    reader: Iterator[list[str]]
    if dialect.quotes == CHARACTERS:
        reader = (line.rstrip("\r\n").split(dialect.separator) for line in lines)
    else:
        how = QUOTING[dialect.quotes]
        reader = csv.reader(lines, delimiter=dialect.separator, skipinitialspace=True, strict=True, **how)
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise BadInput(f"{lines.name} line {lines.number}: {_quote_fault(error)}") from error
        if row is None:
            return
        lines.next_row()
        if any(cell and not cell.isspace() for cell in row):
            yield row


def _quote_fault(error: csv.Error) -> str:
    match str(error):
        case "unexpected end of data":
            return "the file ends within a cell that begins with a quote."
        case words if "expected after" in words:
            return "a cell that begins with a quote goes on after the next one; a quote within it is written twice."
        case words:
            return f"{words}."


# =============================================================================
# Header
# =============================================================================


def _is_header(reading: Reading, names: Sequence[Sequence[str]]) -> bool:
    """Whether the first row names the columns and is not data.

    It does where it has names that columns often have. Else it is data where one of its cells stands below in the same
    column again, as a label does; where two of them are the same; or where one is a number in a column of numbers.
    """
    first = [cell.lower() for cell in reading.first]
    counted = [str(i) for i in range(len(first))]
    if first in (counted, ["", *counted[:-1]]):  # as pandas names columns that have no names
        return True
    known = [any(cell in group for group in names) for cell in first]
    if all(any(cell in group for cell in first) for group in names):
        return True
    columns = [reading.others[name] for name in reading.others]
    again = [bool(cell) and bool((column == cell).any()) for cell, column in zip(reading.first, columns, strict=False)]
    if any(is_known and not is_again for is_known, is_again in zip(known, again, strict=False)):
        return True
    filled = [cell for cell in first if cell]
    numbers = (
        as_numbers([cell]) is not None and as_numbers([other for other in column.unique() if other]) is not None
        for cell, column in zip(reading.first, columns, strict=False)
    )
    return not (any(again) or len(set(filled)) < len(filled) or any(numbers))


def _named(path: Path, reading: Reading, header: str) -> tuple[pd.DataFrame, int]:
    """All rows under the names of their columns, and how many columns without a name and content were left out."""
    frame = reading.others
    if header == "no":
        row = pd.DataFrame({str(i): [cell] for i, cell in enumerate(reading.first, 1)}, dtype=TEXT)
        frame = pd.concat([row, frame], ignore_index=True) if len(frame) else row
        names = list(frame.columns)
    else:
        names = list(reading.first)
        if len(set(filled := [name for name in names if name])) < len(filled):
            doubled = next(name for name in filled if filled.count(name) > 1)
            raise BadInput(f"{path.name} has two columns named {doubled!r}.")
    if frame.empty:
        raise BadInput(f"{path.name} has no rows.")
    keep = {}
    for i, (name, column) in enumerate(zip(names, frame.columns, strict=True), 1):
        if (name and header == "yes") or (frame[column] != "").any():
            keep[column] = name or (str(i) if str(i) not in names else f"column {i}")
    return frame[list(keep)].rename(columns=keep), len(names) - len(keep)


def _notes(path: Path, reading: Reading, header: str) -> Iterator[str]:
    dialect = reading.dialect
    if dialect.skipped:
        yield f"Its first line states that {SEPARATORS[dialect.separator].lower()} stand between cells."
    elif dialect.separator != _usual_separator(path):
        yield f"{SEPARATORS[dialect.separator]} stand between its cells."
    if dialect.quotes == CHARACTERS and reading.quote_first:
        cells = f"{reading.quote_first:,} cell{'s begin' if reading.quote_first > 1 else ' begins'} with a quote"
        why = "in a TSV quotes are characters" if dialect.separator == "\t" else "quotes were read as characters"
        yield f"{cells}; {why}."
    if dialect.quotes == ESCAPED:
        yield "Backslashes stand before quotes within cells."
    if dialect.quotes == DOUBLED and dialect.separator == "\t":
        yield "Its cells stand in quotes where need be."
    if header == "no":
        yield "Its first row is data, so that columns are numbered from 1."
    if reading.short_rows:
        yield f"{reading.short_rows:,} row{'s have' if reading.short_rows > 1 else ' has'} fewer cells than the first."
