"""What a column of labels is: classes, or a number to be predicted; one decision for train and dev."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from pmb.bounds import MOST_CLASSES
from pmb.errors import BadInput

CLASSES, NUMBER = "classes", "number"
LEAST_ROWS_A_CLASS = 4  # so that train and dev both have some
MOST_SHOWN = 6  # classes in a sentence
POINT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
COMMA = re.compile(r"[+-]?\d+(,\d+)?", re.ASCII)
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+", re.ASCII)
FIGURES = re.compile(r"[+-]?\d[\d.,]*", re.ASCII)
LEADING_ZERO = re.compile(r"[+-]?0\d", re.ASCII)
MISSING = ("nan", "na", "n/a", "none", "null", "<na>", "-", "?")  # among numbers: no label
EXACT_WHOLE = 1e15  # up to here a float tells whole numbers apart


@dataclass(frozen=True, slots=True)
class Labels:
    """The classes in their order, or none for a number; `classes_are_numbers`: 1, 1.0 and 01 are the same class."""

    classes: tuple[str, ...]
    classes_are_numbers: bool = False
    decimal_commas: bool = False

    @property
    def kind(self) -> str:
        """CLASSES or NUMBER."""
        return CLASSES if self.classes else NUMBER

    def values(self, path_name: str, cells: pd.Series) -> list[int | float]:
        """The index of each cell's class, or its number; raises BadInput with the row of a cell that has none."""
        distinct = list(cells.unique())
        if not self.classes:
            numbers = as_numbers(distinct)
            if numbers is None or not all(map(math.isfinite, numbers.values())):
                raise _no_number(path_name, cells, distinct)
            return list(cells.map(numbers))
        index = {name: i for i, name in enumerate(self.classes)}
        names = {cell: class_names([cell])[cell] if self.classes_are_numbers else cell for cell in distinct}
        found = {cell: index.get(name) for cell, name in names.items()}
        if unknown := [cell for cell, i in found.items() if i is None]:
            raise BadInput(
                f"{path_name} row {row_of(cells, unknown[0])}: label {unknown[0]!r} is none of "
                f"{', '.join(self.classes)}."
            )
        return [found[cell] for cell in cells]  # type: ignore[misc]


def decide(path_name: str, cells: pd.Series, kind: str = "") -> Labels:
    """What the labels of train are, CLASSES or NUMBER where that is said; raises BadInput with the row at fault."""
    counts = Counter(cells)
    if "" in counts:
        raise BadInput(f"{path_name} row {row_of(cells, '')} has no label.")
    if len(counts) == 1:
        raise BadInput(f"{path_name} has one label only, {next(iter(counts))!r}; at least two are needed.")
    numbers = as_numbers(counts)
    if kind != CLASSES and numbers is None:
        _check_no_number_is_meant(path_name, cells, counts, kind)
    if kind == NUMBER or (not kind and usual_kind(counts) == NUMBER):
        labels = Labels((), decimal_commas=numbers is not None and any("," in cell for cell in counts))
        labels.values(path_name, cells)
        return labels
    names = class_names(counts)
    sizes: Counter[str] = Counter()
    for cell, count in counts.items():
        sizes[names[cell]] += count
    if len(sizes) > MOST_CLASSES:
        what, advice = "labels", ""
        if numbers is not None:
            what, advice = "numbers as labels", " To predict the number itself, say &kind=number."
        raise BadInput(f"{path_name} has {len(sizes)} different {what}; at most {MOST_CLASSES} are allowed.{advice}")
    if len(sizes) == 1:
        raise BadInput(f"{path_name} has one label only, {next(iter(sizes))!r}; at least two are needed.")
    rare, count = min(sizes.items(), key=lambda item: item[1])
    if count < LEAST_ROWS_A_CLASS:
        written = next(cell for cell in counts if names[cell] == rare)
        advice = " To predict the number itself, say &kind=number." if numbers is not None and not kind else ""
        raise BadInput(
            f"{path_name} row {row_of(cells, written)}: label {written!r} stands in {count} rows; each needs at least "
            f"{LEAST_ROWS_A_CLASS}.{advice}"
        )
    in_order = sorted(sizes) if numbers is None else sorted(sizes, key=lambda name: (_number(name), name))
    return Labels(tuple(in_order), numbers is not None, any("," in cell for cell in counts) and numbers is not None)


def usual_kind(distinct: Iterable[str]) -> str:
    """What labels are where nothing is said; empty where that has to be said.

    Few different whole numbers are classes, however they are written; numbers with decimals are numbers. Many
    different whole numbers can be either.
    """
    cells = list(distinct)
    numbers = as_numbers(cells)
    if numbers is None:
        return CLASSES
    if not all(number == round(number) for number in numbers.values() if math.isfinite(number)):
        return NUMBER
    if not all(map(math.isfinite, numbers.values())):
        return NUMBER
    return CLASSES if len(set(class_names(cells).values())) <= MOST_CLASSES else ""


def as_numbers(distinct: Iterable[str]) -> dict[str, float] | None:
    """Each different cell as a number; None where one is none. Decimal commas are read where no cell has a point.

    A comma before three digits may also part the thousands: where every comma may, the cells are no numbers.
    """
    cells = list(distinct)
    if all(POINT.fullmatch(cell) for cell in cells):
        return {cell: float(cell) for cell in cells}
    if not all(COMMA.fullmatch(cell) for cell in cells):
        return None
    if all(THOUSANDS.fullmatch(cell) for cell in cells if "," in cell):
        return None
    return {cell: _number(cell) for cell in cells}


def class_names(distinct: Iterable[str]) -> dict[str, str]:
    """The class that each different cell names: numbers of one value are one class, such as 1 and 1.0.

    Cells with zeros before them are codes, and classes as they are.
    """
    cells = list(distinct)
    numbers = as_numbers(cells)
    if numbers is None or any(LEADING_ZERO.match(cell) for cell in cells):
        return {cell: cell for cell in cells}
    return {cell: _plain(number) if abs(number) < EXACT_WHOLE else cell for cell, number in numbers.items()}


def in_words(labels: Labels, values: Sequence[int | float]) -> str:
    """What the labels of these examples are, such as "of 2 classes: bad (40), good (20)" or "a number from 0 to 5"."""
    commas = ", with decimal commas" if labels.decimal_commas else ""
    if not labels.classes:
        return f"a number from {min(values):g} to {max(values):g}{commas}"
    sizes = Counter(values)
    shown = ", ".join(f"{name} ({sizes[i]:,})" for i, name in enumerate(labels.classes[:MOST_SHOWN]))
    more = len(labels.classes) - MOST_SHOWN
    change = "; &kind=number predicts the number itself" if labels.classes_are_numbers and len(sizes) > 2 else ""
    return f"of {len(labels.classes)} classes{commas}: {shown}{f' and {more} more' if more > 0 else ''}{change}"


def row_of(cells: pd.Series, wanted: object) -> int:
    """The first row with that value, counted from 1 without the header."""
    return int((cells == wanted).to_numpy().argmax()) + 1


def _number(cell: str) -> float:
    return float(cell.replace(",", "."))


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else repr(number)


def _check_no_number_is_meant(path_name: str, cells: pd.Series, counts: Mapping[str, int], kind: str) -> None:
    """Raise BadInput where labels are no numbers, but all or most of them look as if they should be."""
    others = [cell for cell in counts if not (POINT.fullmatch(cell) or COMMA.fullmatch(cell))]
    most = 2 * sum(count for cell, count in counts.items() if cell not in others) > len(cells)
    missing = len(others) < len(counts) and all(cell.lower() in MISSING for cell in others)
    if all(FIGURES.fullmatch(cell) for cell in counts):
        odd = next(cell for cell in counts if not POINT.fullmatch(cell))
        raise BadInput(
            f"{path_name} row {row_of(cells, odd)}: label {odd!r} can be read as more than one number; write it with a "
            "decimal point and nothing else, or say &kind=classes."
        )
    if others and (kind == NUMBER or missing or (most and len(counts) > MOST_CLASSES)):
        raise _no_number(path_name, cells, others)


def _no_number(path_name: str, cells: pd.Series, distinct: Iterable[str]) -> BadInput:
    """The first label that is no finite number, by its row."""
    odd = {cell for cell in distinct if not POINT.fullmatch(cell) or not math.isfinite(_number(cell))}
    first = int(cells.isin(odd).to_numpy().argmax())
    return BadInput(f"{path_name} row {first + 1}: label {cells.iloc[first]!r} is no finite number.")
