"""Which columns of a table are text and label: those that are named, else those whose names or contents say it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pmb.catalog.tasks import Table
from pmb.engine.cells import Sheet
from pmb.engine.labels import as_numbers
from pmb.errors import BadInput

TEXTS = (
    *("text", "sentence", "sentence1", "question1", "question", "premise", "review", "comment", "content", "title"),
    *("body", "tweet", "utterance", "message", "text1"),
)
BOTH = (("question", "sentence"), ("premise", "hypothesis"))  # texts that belong together, as in QNLI and MNLI
PAIRS = ("text_pair", "sentence2", "question2", "hypothesis", "answer", "text2")
LABELS = (
    *("label", "labels", "class", "category", "target", "score", "rating", "sentiment", "gold_label", "y"),
    *("stars", "intent", "quality", "is_duplicate"),
)
SPLITS = ("split", "fold", "subset", "partition")
PARTS = {"train", "training", "dev", "val", "valid", "validation", "eval", "test"}  # what a split column says
FIRST = re.compile(r"(?<!\d)1(?!\d)")  # in the name of the first of two texts


def choose_columns(table: Table, sheet: Sheet) -> Table:
    """The table with the columns that it does not name; raises BadInput."""
    name = Path(table.path).name
    check_columns(table, sheet, table.path)
    free = [column for column in sheet.names if column not in (table.text, table.pair, table.label)]

    def take(names: Sequence[str], setting: str) -> str:
        """The first free column of these names; lists in it are no reason to take another one in silence."""
        for column in _in_order([*free, *sheet.left_out], names):
            if column in sheet.left_out:
                raise BadInput(
                    f"{name} has {sheet.left_out[column]} in column {column!r}, and a cell is a text or a number; "
                    f"choose another column (&{setting}=) or write it as text."
                )
            free.remove(column)
            return column
        return ""

    label = table.label or take(LABELS, "label")
    text, pair = table.text, table.pair
    if not text and not pair:
        both = ([next(_in_order(free, [half]), "") for half in halves] for halves in BOTH)
        text, pair = next((found for found in both if all(found)), ("", ""))
        text = text or take(TEXTS, "text")
        if not text:
            text, pair = _two_texts(sheet, free)
        elif not pair:
            pair = next(_in_order(free, [FIRST.sub("2", text.lower())] if FIRST.search(text) else PAIRS), "")
    text = text or take(TEXTS, "text")
    free = [column for column in free if column not in (text, pair)]
    if not text and free:
        text = max(free, key=lambda column: float(sheet.frame[column].str.len().mean()))
        free.remove(text)
    if not label:
        label = _fewest_values(sheet, free)
    if not text or not label:
        left_out = "".join(f", and {column!r} with {what}" for column, what in sheet.left_out.items())
        columns = ", ".join(sheet.names) or "none that can be used"
        raise BadInput(f"{name} needs a column of text and one of labels; it has {columns}{left_out}.")
    return replace(table, text=text, pair=pair, label=label)


def check_columns(table: Table, sheet: Sheet, path: str) -> None:
    """Raise BadInput where a file lacks a column that the table names."""
    for column in filter(None, (table.text, table.pair, table.label)):
        if column in sheet.left_out:
            raise BadInput(
                f"{Path(path).name} has {sheet.left_out[column]} in column {column!r}; a cell is a text or a number."
            )
        if column not in sheet.frame:
            raise BadInput(f"{Path(path).name} has no column {column!r}; it has {', '.join(sheet.names)}.")


def _in_order(columns: Sequence[str], names: Sequence[str]) -> Iterator[str]:
    for wanted in names:
        yield from (column for column in columns if column.lower() == wanted)


def _two_texts(sheet: Sheet, free: Sequence[str]) -> tuple[str, str]:
    """Two columns whose names differ in 1 and 2 alone, the longest texts of such, where they are no numbers."""
    by_length: dict[float, tuple[str, str]] = {}
    for column in free:
        other = FIRST.sub("2", column, count=1)
        if other != column and other in free and not column.isdecimal():
            texts = sheet.frame[column]
            if as_numbers(texts.unique()) is None:
                by_length[float(texts.str.len().mean())] = column, other
    return by_length[max(by_length)] if by_length else ("", "")


def _fewest_values(sheet: Sheet, free: Sequence[str]) -> str:
    """The column of the fewest values, more than one, none of them missing; never one that splits the rows."""
    values = {column: set(sheet.frame[column].unique()) for column in free if column.lower() not in SPLITS}
    possible = [
        column
        for column, found in values.items()
        if len(found) > 1 and "" not in found and not {value.lower() for value in found} <= PARTS
    ]
    return min(possible, key=lambda column: len(values[column]), default="")
