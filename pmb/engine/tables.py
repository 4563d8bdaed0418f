"""A user's own table as a task: CSV, TSV, JSON lines or Parquet, read by pandas, every fault named with its row."""

from __future__ import annotations

import codecs
import csv
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from pmb.bounds import MOST_CELL_CHARACTERS, MOST_CLASSES, MOST_HEADER_CHARACTERS, MOST_MEGABYTES
from pmb.catalog.tasks import TABLE_SUFFIXES, Table
from pmb.engine.examples import Example, TaskData, in_hash_order
from pmb.engine.parquet import check_shape, read_parquet
from pmb.errors import BadInput
from pmb.spec import ColumnPreview, Histogram, TablePreview
from pmb.strict import parse, read_as

LEAST_ROWS_A_CLASS = 4  # so that train and dev both have some
DEV_SHARE = 5  # one in so many rows of each class is set aside
MOST_DEV = 2000
TEXT_NAMES = (
    "text",
    "sentence",
    "sentence1",
    "question1",
    "question",
    "premise",
    "review",
    "comment",
    "content",
    "title",
)
PAIR_NAMES = ("text_pair", "sentence2", "question2", "hypothesis", "answer", "text2")
LABEL_NAMES = ("label", "labels", "class", "category", "target", "score", "rating", "sentiment", "gold_label", "y")
BINS = 20  # of a histogram
FIRST_ROWS = 8
MOST_CHARACTERS = 400  # of a cell that is shown
WHOLE_FLOAT = 1e15  # up to here a float tells whole numbers apart, and a histogram can be made
CHUNK = 1 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Chosen:
    """A table with every column named, its labels and its examples; no labels: a regression."""

    table: Table
    labels: tuple[str, ...]
    data: TaskData


def load_table(table: Table) -> Chosen:
    """Read the file, guess what was not said, check every row; raises BadInput with the row at fault."""
    path = Path(table.path)
    frame = read_frame(path)
    table = _with_columns(table, frame)
    dev_frame = read_frame(Path(table.dev)) if table.dev else None
    for name in filter(None, (table.text, table.pair, table.label)):
        if dev_frame is not None and name not in dev_frame:
            raise BadInput(f"{Path(table.dev).name} has no column {name!r}; it has {', '.join(map(str, dev_frame))}.")
    written = frame[table.label].map(str.strip)
    labels = _labels(path, written)
    examples = _examples(path, frame, table, labels)
    if dev_frame is None:
        train, dev, notes = _split(examples, labels)
    else:
        train, dev, notes = examples, _examples(Path(table.dev), dev_frame, table, labels), []
    known = {example.texts for example in dev}
    clean = tuple(example for example in train if example.texts not in known)
    if len(clean) < len(train):
        notes.append(f"{len(train) - len(clean)} train rows stand in dev too and were left out of train.")
    if not clean or not dev:
        raise BadInput(f"{path.name} leaves {len(clean)} train and {len(dev)} dev rows; both need some.")
    return Chosen(table, labels, TaskData(clean, tuple(dev), {}, tuple(notes)))


def preview(path: Path) -> TablePreview:
    """What is in a file, before anything of it is chosen; raises BadInput."""
    frame = read_frame(path)
    chosen = _with_columns(Table(str(path)), frame)
    first = [
        {str(name): str(cell)[:MOST_CHARACTERS] for name, cell in row.items()}
        for row in frame.head(FIRST_ROWS).to_dict("records")
    ]
    return TablePreview(
        rows=len(frame),
        columns=tuple(_column(str(name), frame[name].map(str.strip)) for name in frame),
        first=tuple(first),
        text=chosen.text,
        pair=chosen.pair,
        label=chosen.label,
    )


def _column(name: str, cells: pd.Series) -> ColumnPreview:
    counts = cells.value_counts()
    numbers = pd.to_numeric(cells, errors="coerce")
    words = cells.map(lambda cell: len(cell.split()))
    return ColumnPreview(
        name=name,
        distinct=len(counts),
        classes={str(label): int(count) for label, count in counts.head(MOST_CLASSES).items()},
        numbers=_histogram(numbers) if _can_be_binned(numbers) else None,
        words=_histogram(words),
    )


def _can_be_binned(numbers: pd.Series) -> bool:
    """Whether all are numbers, and neither too large nor too near each other for bins."""
    if numbers.isna().any() or numbers.abs().max() > WHOLE_FLOAT:
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


def read_frame(path: Path) -> pd.DataFrame:
    """The file's rows, every cell as text; raises BadInput."""
    if path.suffix.lower() not in TABLE_SUFFIXES:
        raise BadInput(f"{path.name} is no table that can be read: {', '.join(TABLE_SUFFIXES)} are.")
    if not path.is_file():
        raise BadInput(f"{path} is not there.")
    if (megabytes := path.stat().st_size / 1e6) > MOST_MEGABYTES:
        raise BadInput(f"{path.name} has {megabytes:.0f} MB; at most {MOST_MEGABYTES} are allowed.")
    try:
        frame = _read(path)
    except UnicodeDecodeError as error:
        raise BadInput(f"{path.name} is not UTF-8: byte {error.start} cannot be read.") from error
    except pd.errors.EmptyDataError as error:
        raise BadInput(f"{path.name} is empty.") from error
    except BadInput:
        raise
    except (ValueError, LookupError, OverflowError, OSError, pa.ArrowException) as error:  # they say which line
        reason = " ".join(str(error).replace("Error tokenizing data. C error: ", "").split()).rstrip(".")
        raise BadInput(f"{path.name} cannot be read: {reason}.") from error
    if frame.empty:
        raise BadInput(f"{path.name} has no rows.")
    check_shape(path, *frame.shape)
    if doubled := [name for name, count in Counter(frame.columns).items() if count > 1]:
        raise BadInput(f"{path.name} has two columns named {doubled[0]!r}.")
    for name in frame:
        lengths = frame[name].str.len()
        if (longest := int(lengths.max())) > MOST_CELL_CHARACTERS:
            raise BadInput(
                f"{path.name} row {_row(lengths, longest)} has {longest:,} characters in column {name!r}; at most "
                f"{MOST_CELL_CHARACTERS:,} are allowed."
            )
    return frame


def _read(path: Path) -> pd.DataFrame:
    match path.suffix.lower():
        case ".parquet":
            return _frame(read_parquet(path))
        case ".jsonl":
            return _frame(_read_json_lines(path))
        case suffix:
            separator = "\t" if suffix == ".tsv" else ","
            _check_text(path, separator)
            header = pd.read_csv(path, sep=separator, dtype=str, encoding="utf-8-sig", header=None, nrows=1)
            if doubled := [name for name, count in Counter(header.iloc[0]).items() if count > 1]:
                raise ValueError(f"it has two columns named {str(doubled[0])!r}")
            frame = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig")
            if not isinstance(frame.index, pd.RangeIndex):
                raise ValueError("its rows have more cells than its header")
    frame.columns = frame.columns.map(str)
    return frame.map(_as_text)


def _frame(columns: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    return pd.DataFrame({name: [_as_text(cell) for cell in cells] for name, cells in columns.items()}, dtype=str)


def _check_text(path: Path, separator: str) -> None:
    """Raise BadInput where a file of cells is no text, or would have too many of them; holds none of it in memory."""
    lines, place = 0, 0
    with path.open("rb") as file:
        header = file.readline(MOST_HEADER_CHARACTERS).split(b"\r")[0].decode("utf-8-sig", errors="replace")
        file.seek(0)
        while chunk := file.read(CHUNK):
            if (found := chunk.find(b"\0")) >= 0:
                raise BadInput(f"{path.name} is no text: byte {place + found} is NUL.")
            lines, place = lines + max(chunk.count(b"\n"), chunk.count(b"\r")), place + len(chunk)
    if len(header) >= MOST_HEADER_CHARACTERS:
        raise BadInput(f"{path.name} has a first line of more than {MOST_HEADER_CHARACTERS:,} characters.")
    columns = next(csv.reader([header], delimiter=separator), [])
    check_shape(path, max(0, lines - 1), len(columns))


def _read_json_lines(path: Path) -> dict[str, list[Any]]:
    """The columns of a file with an object a line; a name that a line lacks is None there."""
    columns: dict[str, list[Any]] = {}
    rows = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if not line.strip():
                continue
            what = f"{path.name} line {number}"
            for name, cell in read_as(dict[str, Any], parse(line, what), what).items():
                columns.setdefault(name, [None] * rows).append(cell)
            rows += 1
            for cells in columns.values():
                if len(cells) < rows:
                    cells.append(None)
            check_shape(path, rows, len(columns))
    return columns


def _as_text(cell: Any) -> str:
    return "" if cell is None or cell is pd.NaT or (isinstance(cell, float) and pd.isna(cell)) else str(cell)


def _with_columns(table: Table, frame: pd.DataFrame) -> Table:
    """The table with the columns that were not named guessed by their names, then by what is in them."""
    columns = list(frame.columns)
    for name in filter(None, (table.text, table.pair, table.label)):
        if name not in columns:
            raise BadInput(f"{Path(table.path).name} has no column {name!r}; it has {', '.join(columns)}.")
    free = [name for name in columns if name not in (table.text, table.pair, table.label)]
    lengths = {name: float(frame[name].str.len().mean()) for name in columns}

    def take(names: Sequence[str]) -> str:
        found = next((name for wanted in names for name in free if name.lower() == wanted), "")
        if found:
            free.remove(found)
        return found

    label = table.label or take(LABEL_NAMES)
    text = table.text or take(TEXT_NAMES)
    pair = table.pair or ("" if table.text else take(PAIR_NAMES))
    if not text and free:
        text = max(free, key=lambda name: lengths[name])
        free.remove(text)
    if not label and free:
        label = min(free, key=lambda name: frame[name].nunique())
    if not text or not label:
        raise BadInput(
            f"{Path(table.path).name} needs a column of text and one of labels; it has {', '.join(columns)}."
        )
    return replace(table, text=text, pair=pair, label=label)


def _labels(path: Path, written: pd.Series) -> tuple[str, ...]:
    """The classes in order; none where the labels are numbers to be predicted."""
    classes = Counter(written)
    if "" in classes:
        raise BadInput(f"{path.name} row {_row(written, '')} has no label.")
    if len(classes) == 1:
        raise BadInput(f"{path.name} has one label only, {next(iter(classes))!r}; at least two are needed.")
    numbers = pd.to_numeric(written, errors="coerce").astype(float).map(math.isfinite)
    numeric = numbers.all()
    whole = all(re.fullmatch(r"[+-]?\d+", name) for name in classes)
    if numeric and (not whole or len(classes) > MOST_CLASSES):
        return ()
    if len(classes) > MOST_CLASSES and 2 * numbers.sum() > len(numbers):
        row = int((~numbers).to_numpy().argmax()) + 1
        raise BadInput(f"{path.name} row {row}: label {written.iloc[row - 1]!r} is no finite number, as most are.")
    if len(classes) > MOST_CLASSES:
        raise BadInput(f"{path.name} has {len(classes)} different labels; at most {MOST_CLASSES} are allowed.")
    rare, count = min(classes.items(), key=lambda item: item[1])
    if count < LEAST_ROWS_A_CLASS:
        raise BadInput(
            f"{path.name} row {_row(written, rare)}: label {rare!r} stands in {count} rows; each needs at least "
            f"{LEAST_ROWS_A_CLASS}."
        )
    return tuple(sorted(classes, key=lambda name: (float(name), name) if whole else (0.0, name)))


def _row(values: pd.Series, wanted: object) -> int:
    """The first row with that value, counted from 1 without the header."""
    return int((values == wanted).to_numpy().argmax()) + 1


def _examples(path: Path, frame: pd.DataFrame, table: Table, labels: tuple[str, ...]) -> tuple[Example, ...]:
    index = {name: i for i, name in enumerate(labels)}
    columns = [frame[name].str.strip() for name in (table.text, table.pair) if name]
    for name, column in zip((table.text, table.pair), columns, strict=False):
        if (column == "").any():
            raise BadInput(f"{path.name} row {_row(column, '')} has no text in column {name!r}.")
    examples = []
    for number, (written, *texts) in enumerate(zip(frame[table.label].str.strip(), *columns, strict=True), 1):
        if labels and written not in index:
            raise BadInput(f"{path.name} row {number}: label {written!r} is none of {', '.join(labels)}.")
        try:
            label = index[written] if labels else float(written)
        except ValueError:
            raise BadInput(f"{path.name} row {number}: label {written!r} is not a number.") from None
        if not math.isfinite(label):
            raise BadInput(f"{path.name} row {number}: label {written!r} is no finite number.")
        examples.append(Example(tuple(texts), label))
    return tuple(examples)


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
