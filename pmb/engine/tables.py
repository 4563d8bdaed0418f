"""A user's own table as a task: CSV, TSV, JSON lines or Parquet; what was understood is said, and faults by row.

docs/tables.md says what is read, what is guessed and what is refused.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pmb.bounds import MOST_CLASSES, MOST_MEGABYTES
from pmb.catalog.tasks import TABLE_SUFFIXES, Table
from pmb.engine.cells import Sheet
from pmb.engine.columns import LABELS, TEXTS, check_columns, choose_columns
from pmb.engine.delimited import read_delimited
from pmb.engine.examples import Example, TaskData, in_hash_order
from pmb.engine.json_lines import read_json_lines
from pmb.engine.labels import EXACT_WHOLE, Labels, as_numbers, class_names, decide, in_words, row_of, usual_kind
from pmb.engine.parquet import read_parquet
from pmb.errors import BadInput
from pmb.spec import ColumnPreview, Histogram, TablePreview

DEV_SHARE = 5  # one in so many rows of each class is set aside
MOST_DEV = 2000
BINS = 20  # of a histogram
FIRST_ROWS = 8
SAID_ROWS = 3
MOST_CHARACTERS = 400  # of a cell that is shown
SAID_CHARACTERS = 60  # of a cell in a sentence


@dataclass(frozen=True, slots=True)
class Chosen:
    """A table with every column named, its labels and its examples; no labels: a regression."""

    table: Table
    labels: tuple[str, ...]
    data: TaskData


def load_table(table: Table) -> Chosen:
    """Read the file, guess what was not said, check every row; raises BadInput with the row at fault.

    What holds for train holds for dev: whether there is a header, and whether labels are classes or a number.
    """
    path = Path(table.path)
    sheet = read_sheet(path, table.header, table.encoding)
    table = choose_columns(table, sheet)
    labels = decide(path.name, sheet.frame[table.label], table.kind)
    examples = _examples(path, sheet, table, labels)
    notes = [*_understood(path, sheet)]
    if sheet.header == "no" and not table.header:
        notes.append("If that row names the columns, say &header=yes.")
    notes += [_columns_in_words(table, labels, examples), _first_rows(table, sheet)]
    if not table.dev:
        train, dev, more = _split(examples, labels.classes)
        notes += more
    else:
        dev_path = Path(table.dev)
        dev_sheet = read_sheet(dev_path, sheet.header if dev_path.suffix.lower() in WITH_HEADER else "")
        check_columns(table, dev_sheet, table.dev)
        train, dev = examples, _examples(dev_path, dev_sheet, table, labels)
        notes += _understood(dev_path, dev_sheet)
    known = {example.texts for example in dev}
    clean = tuple(example for example in train if example.texts not in known)
    if len(clean) < len(train):
        notes.append(f"{len(train) - len(clean)} train rows stand in dev too and were left out of train.")
    if not clean or not dev:
        raise BadInput(f"{path.name} leaves {len(clean)} train and {len(dev)} dev rows; both need some.")
    return Chosen(table, labels.classes, TaskData(clean, tuple(dev), {}, tuple(notes)))


def preview(table: Table) -> TablePreview:
    """What is in a table's file, before anything of it is chosen; raises BadInput."""
    path = Path(table.path)
    sheet = read_sheet(path, table.header, table.encoding)
    notes = [*_understood(path, sheet)]
    try:
        chosen = choose_columns(Table(table.path), sheet)
    except BadInput as error:  # then a person chooses
        chosen = Table(table.path)
        notes.append(str(error))
    first = [
        {str(name): str(cell)[:MOST_CHARACTERS] for name, cell in row.items()}
        for row in sheet.frame.head(FIRST_ROWS).to_dict("records")
    ]
    return TablePreview(
        rows=len(sheet.frame),
        lines=sheet.lines,
        columns=tuple(_column(name, sheet.frame[name]) for name in sheet.names),
        first=tuple(first),
        text=chosen.text,
        pair=chosen.pair,
        label=chosen.label,
        header=sheet.header,
        encoding=sheet.encoding,
        notes=tuple(notes),
    )


def _column(name: str, cells: pd.Series) -> ColumnPreview:
    counts = {str(cell): int(count) for cell, count in cells.value_counts().items()}
    names = class_names(counts)
    sizes: Counter[str] = Counter()
    for cell, count in counts.items():
        sizes[names[cell]] += count
    numbers = as_numbers(counts)
    binned = cells.map(numbers).astype(float) if numbers else pd.Series(dtype=float)
    return ColumnPreview(
        name=name,
        distinct=len(sizes),
        classes=dict(sizes.most_common(MOST_CLASSES)),
        numbers=_histogram(binned) if len(binned) and _can_be_binned(binned) else None,
        words=_histogram(_words(cells)),
        kind=usual_kind(counts),
        numeric=numbers is not None,
    )


def _words(cells: pd.Series) -> pd.Series:
    """How many words each cell has."""
    return pd.Series(pc.count_substring_regex(pa.array(cells), r"\S+").to_numpy(zero_copy_only=False))


def _can_be_binned(numbers: pd.Series) -> bool:
    """Whether all are numbers, and neither too large nor too near each other for bins."""
    if numbers.isna().any() or numbers.abs().max() > EXACT_WHOLE:
        return False
    spread, largest = float(numbers.max() - numbers.min()), float(numbers.abs().max())
    return spread == 0 or spread > 2 * BINS * float(np.spacing(largest))


def _histogram(values: pd.Series) -> Histogram:
    """In at most BINS bins of equal width; where all values are whole, so is the width."""
    low, high = float(values.min()), float(values.max())
    if (values == values.round()).all():
        width = math.ceil((high - low + 1) / BINS)
        bins = math.ceil((high - low + 1) / width)
        counts, edges = np.histogram(values, bins=bins, range=(low, low + bins * width))
    else:
        counts, edges = np.histogram(values, bins=BINS)
    return Histogram(low, high, tuple(edges.tolist()), tuple(counts.tolist()))


# =============================================================================
# Reading
# =============================================================================

WITH_HEADER = (".csv", ".tsv")


def read_sheet(path: Path, header: str = "", encoding: str = "") -> Sheet:
    """The file's rows, every cell as text; `header` and `encoding` as of `Table`. Raises BadInput."""
    if path.suffix.lower() not in TABLE_SUFFIXES:
        raise BadInput(f"{path.name} is no table that can be read: {', '.join(TABLE_SUFFIXES)} are.")
    if not path.is_file():
        raise BadInput(f"{path} is not there.")
    if (megabytes := path.stat().st_size / 1e6) > MOST_MEGABYTES:
        raise BadInput(f"{path.name} has {megabytes:.0f} MB; at most {MOST_MEGABYTES} are allowed.")
    if header and path.suffix.lower() not in WITH_HEADER:
        raise BadInput(f"{path.name} names its columns by itself; header={header} is for {' and '.join(WITH_HEADER)}.")
    if encoding and path.suffix.lower() == ".parquet":
        raise BadInput(f"{path.name} has no encoding; encoding={encoding} is for text files.")
    try:
        sheet = _read(path, header, encoding)
    except BadInput:
        raise
    except (ValueError, LookupError, OverflowError, OSError, pa.ArrowException) as error:
        raise BadInput(f"{path.name} cannot be read: {' '.join(str(error).split()).rstrip('.')}.") from error
    if sheet.frame.empty and not sheet.left_out:
        raise BadInput(f"{path.name} has no rows.")
    return sheet


def _read(path: Path, header: str, encoding: str) -> Sheet:
    match path.suffix.lower():
        case ".parquet":
            return read_parquet(path)
        case ".jsonl":
            return read_json_lines(path, encoding)
        case _:
            return read_delimited(path, header, encoding, (TEXTS, LABELS))


def _examples(path: Path, sheet: Sheet, table: Table, labels: Labels) -> tuple[Example, ...]:
    columns = [sheet.frame[name] for name in (table.text, table.pair) if name]
    for name, column in zip((table.text, table.pair), columns, strict=False):
        if (column == "").any():
            raise BadInput(f"{path.name} row {row_of(column, '')} has no text in column {name!r}.")
    values = labels.values(path.name, sheet.frame[table.label])
    return tuple(Example(tuple(texts), value) for value, *texts in zip(values, *columns, strict=True))


# =============================================================================
# What was understood
# =============================================================================


def _understood(path: Path, sheet: Sheet) -> Iterator[str]:
    """How a file was read, each a sentence."""
    lines = f" in {sheet.lines:,} lines" if sheet.lines else ""
    yield f"{path.name} has {len(sheet.frame):,} rows{lines}."
    yield from sheet.notes
    if sheet.left_out:
        columns = ", ".join(f"{name!r} ({what})" for name, what in sheet.left_out.items())
        yield f"Left out, since a cell is a text or a number: {columns}."


def _columns_in_words(table: Table, labels: Labels, examples: Sequence[Example]) -> str:
    """Which columns were taken, and what the labels are."""
    pair = f", second text {table.pair!r}" if table.pair else ""
    kind = in_words(labels, [example.label for example in examples])
    return f"Text is column {table.text!r}{pair}; label is column {table.label!r}, {kind}."


def _first_rows(table: Table, sheet: Sheet) -> str:
    rows = sheet.frame.head(SAID_ROWS).to_dict("records")
    texts = [[row[name][:SAID_CHARACTERS] for name in (table.text, table.pair) if name] for row in rows]
    said = [
        f"{' / '.join(map(repr, words))} is {row[table.label][:SAID_CHARACTERS]!r}"
        for words, row in zip(texts, rows, strict=True)
    ]
    return f"First rows: {'; '.join(said)}."


def _split(
    examples: Sequence[Example], labels: Sequence[str]
) -> tuple[tuple[Example, ...], tuple[Example, ...], list[str]]:
    """Set dev aside: of each class one row in DEV_SHARE, by the hash of its text, the same everywhere and for ever."""
    ordered = in_hash_order(examples)
    by_class: dict[object, list[Example]] = {}
    for example in ordered:
        by_class.setdefault(example.label if labels else "", []).append(example)
    share = min(1 / DEV_SHARE, MOST_DEV / len(examples))
    dev = {id(e) for group in by_class.values() for e in group[: max(1, round(share * len(group)))]}
    return (
        tuple(e for e in ordered if id(e) not in dev),
        tuple(e for e in ordered if id(e) in dev),
        [f"{len(dev):,} of {len(examples):,} rows were set aside as dev, of each label alike."],
    )
