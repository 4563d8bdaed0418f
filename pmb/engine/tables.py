"""A user's own table as a task: CSV, TSV, JSON lines or Parquet, read by pandas, every fault named with its row."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pmb.catalog.tasks import MOST_CLASSES, MOST_MEGABYTES, MOST_ROWS, TABLE_SUFFIXES, Table
from pmb.engine.examples import Example, TaskData, in_hash_order
from pmb.errors import BadInput
from pmb.spec import ColumnPreview, Histogram, TablePreview

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
        numbers=_histogram(numbers) if numbers.notna().all() and np.isfinite(numbers).all() else None,
        words=_histogram(words),
    )


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
    except (pd.errors.ParserError, ValueError, OSError) as error:  # pandas and pyarrow say which line
        reason = " ".join(str(error).replace("Error tokenizing data. C error: ", "").split()).rstrip(".")
        raise BadInput(f"{path.name} cannot be read: {reason}.") from error
    if frame.empty:
        raise BadInput(f"{path.name} has no rows.")
    if len(frame) > MOST_ROWS:
        raise BadInput(f"{path.name} has {len(frame):,} rows; at most {MOST_ROWS:,} are allowed.")
    return frame


def _read(path: Path) -> pd.DataFrame:
    match path.suffix.lower():
        case ".parquet":
            frame = pd.read_parquet(path)
        case ".jsonl":
            frame = pd.read_json(path, lines=True, dtype=False, encoding="utf-8")
        case suffix:
            separator = "\t" if suffix == ".tsv" else ","
            header = pd.read_csv(path, sep=separator, dtype=str, encoding="utf-8-sig", header=None, nrows=1)
            if doubled := [name for name, count in Counter(header.iloc[0]).items() if count > 1]:
                raise ValueError(f"it has two columns named {str(doubled[0])!r}")
            frame = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig")
            if not isinstance(frame.index, pd.RangeIndex):
                raise ValueError("its rows have more cells than its header")
    frame.columns = frame.columns.map(str)
    return frame.map(_as_text)


def _as_text(cell: Any) -> str:
    return "" if cell is None or (isinstance(cell, float) and pd.isna(cell)) else str(cell)


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
    numeric = pd.to_numeric(written, errors="coerce").notna().all()
    whole = all(re.fullmatch(r"[+-]?\d+", name) for name in classes)
    if numeric and (not whole or len(classes) > MOST_CLASSES):
        return ()
    if len(classes) > MOST_CLASSES:
        raise BadInput(f"{path.name} has {len(classes)} different labels; at most {MOST_CLASSES} are allowed.")
    rare, count = min(classes.items(), key=lambda item: item[1])
    if count < LEAST_ROWS_A_CLASS:
        raise BadInput(
            f"{path.name} row {_row(written, rare)}: label {rare!r} stands in {count} rows; each needs at least "
            f"{LEAST_ROWS_A_CLASS}."
        )
    return tuple(sorted(classes, key=lambda name: (float(name), name) if whole else (0.0, name)))


def _row(values: pd.Series, wanted: str) -> int:
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
