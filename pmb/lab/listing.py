"""The runs table for people: filtered, counted and ordered by the database, and written as CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, TextIO

from sqlalchemy import ColumnElement, Text, cast, func, or_, select

from pmb.bounds import MOST_DIGITS
from pmb.insight.again import digest
from pmb.insight.intervals import run_interval
from pmb.lab.results import stored_predictions
from pmb.lab.rows import read_json, row_fault
from pmb.lab.schema import runs
from pmb.lab.store import LIST_COLUMNS, Row, Store, plain_rows, runs_by_key

# Of what is no list of layers some number: the functions of SQLite and PostgreSQL for JSON end in an error there.
_LISTED = cast(runs.c.kept_layers, Text)
DEPTH = 1 + func.length(_LISTED) - func.length(func.replace(_LISTED, ",", ""))
ORDERS: dict[str, ColumnElement[Any]] = {
    "newest": runs.c.queued_at.desc(),
    "slowest": (runs.c.finished_at - runs.c.started_at).desc().nulls_last(),
    "best score": runs.c.score.desc().nulls_last(),
}
SEARCHED = (runs.c.model, runs.c.task, runs.c.recipe, runs.c.error, runs.c.device, runs.c.machine)
FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for the beginning of a formula
TIMES = ("queued_at", "started_at", "finished_at")
EXPORT_ROWS = 1000  # read at once
LIVE = ("running", "queued")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which runs are meant; an empty part leaves them all."""

    states: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    recipes: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()  # measured | shipped
    depths: tuple[int, ...] = ()  # numbers of layers kept
    words: str = ""  # all of them: of model, task, recipe, device, machine or error, or a run's first characters;
    # whole numbers alone are the layers kept, such as 0,1,2, or one of them a seed


def live_runs(store: Store, most_waiting: int) -> list[Row]:
    """Runs that go on, then the first of those that wait, in the order of the queue; without predictions and logs.

    A query a state: the index `runs_by_state` has each in its order, so that no more is read than is given. Asked for
    both at once, SQLite reads and sorts them all.
    """
    ordered = select(*LIST_COLUMNS).order_by(runs.c.queued_at, runs.c.key)
    limits = (None, most_waiting)
    return [
        row
        for state, limit in zip(LIVE, limits, strict=True)
        for row in store.read(runs, ordered.where(runs.c.state == state).limit(limit))
    ]


def count_live(store: Store) -> tuple[int, int]:
    """How many runs go on, and how many wait."""
    counts = [select(func.count()).select_from(runs).where(runs.c.state == state) for state in LIVE]
    with store.connect() as connection:
        running, waiting = (connection.execute(count).scalar_one() for count in counts)
    return running, waiting


def live_runs_of(store: Store, model: str, task: str, kept_layers: Sequence[Sequence[int]]) -> list[Row]:
    """Runs of these cuts that wait or go on, in the order of the queue: `key`, `state`, `kept_layers`, `recipe_values`.

    No more of them: ten thousand can wait, and to read and check whole rows takes a second.
    """
    names = ("key", "state", "kept_layers", "recipe_values")
    of_cuts = or_(*map(_keeps, kept_layers))
    mine = (runs.c.model == model, runs.c.task == task, runs.c.state.in_(LIVE), of_cuts)
    columns = [runs.c.key, runs.c.state, cast(runs.c.kept_layers, Text), cast(runs.c.recipe_values, Text)]
    with store.connect() as connection:
        found = connection.execute(select(*columns, runs.c.queued_at).where(*mine)).all()
    read = cache(read_json)  # few texts differ
    ordered = sorted(found, key=lambda row: (row[-1], row[0]))  # which a database need not do
    return [dict(zip(names, (*row[:2], read(row[2]), read(row[3])), strict=True)) for row in ordered]


def waiting_by_work(store: Store) -> list[Row]:
    """How many runs wait (`count`) that cost the same: of a model, its layers kept and a recipe."""
    as_text = [cast(runs.c[name], Text) for name in ("kept_layers", "recipe_values")]  # PostgreSQL groups no JSON
    kind = (runs.c.model, runs.c.num_hidden_layers, *as_text)
    query = select(*kind, func.count()).where(runs.c.state == "queued").group_by(*kind)
    names = ("model", "num_hidden_layers", "kept_layers", "recipe_values", "count")
    with store.connect() as connection:
        found = [dict(zip(names, row, strict=True)) for row in connection.execute(query)]
    rows = [row | {name: read_json(row[name]) for name in names[2:4]} | {"progress": None} for row in found]
    return [row for row in rows if not row_fault(runs, row)]


def waiting_since(store: Store) -> list[float]:
    """When each run that waits was queued, in the order of the queue."""
    query = select(runs.c.queued_at).where(runs.c.state == "queued").order_by(runs.c.queued_at)
    with store.connect() as connection:
        return [since for since in connection.execute(query).scalars() if isinstance(since, float)]


def count_states(store: Store) -> list[tuple[str, int, float | None]]:
    """By state how many runs there are and when the last of them ended; another value whenever a run changes state."""
    query = select(runs.c.state, func.count(), func.max(runs.c.finished_at)).group_by(runs.c.state)
    with store.connect() as connection:
        return [(state, count, end) for state, count, end in connection.execute(query.order_by(runs.c.state))]


def count_by_kind(store: Store) -> list[Row]:
    """How many runs there are of each `state`, `model`, `task`, `recipe`, `source` and `depth` (layers kept).

    Without those of a damaged kind.
    """
    kind = (runs.c.state, runs.c.model, runs.c.task, runs.c.recipe, runs.c.source, DEPTH.label("depth"))
    with store.connect() as connection:
        counted = plain_rows(connection.execute(select(*kind, func.count().label("count")).group_by(*kind)))
    return [row for row in counted if not row_fault(runs, row)]


def count_runs(store: Store, chosen: Filter) -> int:
    """How many runs are meant."""
    with store.connect() as connection:
        return connection.execute(select(func.count()).select_from(runs).where(*_conditions(chosen))).scalar_one()


def list_keys(
    store: Store, chosen: Filter, order: str = "newest", limit: int | None = None, skip: int = 0
) -> list[str]:
    """Keys of the runs that are meant, in that order.

    Only keys: behind each row lie its predictions, which the database would read for every row that it sorts.
    """
    query = select(runs.c.key).where(*_conditions(chosen)).order_by(ORDERS[order], runs.c.key)
    with store.connect() as connection:
        return list(connection.execute(query.limit(limit).offset(skip or None)).scalars())


def runs_in_order(store: Store, keys: Sequence[str]) -> list[Row]:
    """Those runs, in the order of the keys; one that is gone is left out."""
    found = {row["key"]: row for row in runs_by_key(store, keys)}
    return [found[key] for key in keys if key in found]


def found_runs(store: Store, chosen: Filter) -> Iterable[Row]:
    """The runs that are meant, newest first."""
    keys = list_keys(store, chosen)
    for start in range(0, len(keys), EXPORT_ROWS):
        yield from runs_in_order(store, keys[start : start + EXPORT_ROWS])


def exported_runs(store: Store, chosen: Filter) -> Iterable[Row]:
    """The runs that are meant, oldest first, with all that a file of them holds."""
    keys = list_keys(store, chosen)[::-1]
    for start in range(0, len(keys), EXPORT_ROWS):
        some = keys[start : start + EXPORT_ROWS]
        answers = stored_predictions(store, some)
        for row in runs_in_order(store, some):
            found = answers.get(row["key"])
            yield exported(row) | {"predictions_digest": digest(found) if found else None}


def exported(row: Row) -> Row:
    """A run as a row of a file: its columns with times as times, the dropped layers, seconds and the interval."""
    row = dict(row)
    started, finished = row["started_at"], row["finished_at"]
    interval = run_interval(row) if row["state"] == "done" else None
    more: Row = {
        "dropped_layers": _dropped(row),
        "seconds": finished - started if finished and started and finished >= started else None,
        "score_low": interval.low if interval else None,
        "score_high": interval.high if interval else None,
    }
    times = {name: datetime.fromtimestamp(row[name], UTC) if row[name] else None for name in TIMES}
    return row | times | more


def plain(row: Row) -> Row:
    """A run as JSON-able values, under the names that `run --json` has for them."""
    interval = run_interval(row) if row["state"] == "done" else None
    return (
        {"run": row["key"][:12]}
        | {name: value for name, value in row.items() if name != "key"}
        | {
            "dropped_layers": _dropped(row),
            "score_interval": [interval.low, interval.high] if interval else None,
        }
    )


def _dropped(row: Row) -> list[int]:
    return [layer for layer in range(row["num_hidden_layers"]) if layer not in row["kept_layers"]]


def flat(row: Row) -> Row:
    """A row of `exported` for a file with types: what has no fixed form is JSON; lists of layers stay lists."""
    return {
        name: json.dumps(value) if isinstance(value, (list, dict)) and not name.endswith("_layers") else value
        for name, value in row.items()
    }


def write_csv(rows: Iterable[Row], file: TextIO) -> None:
    """Rows of `exported` as CSV with a header; lists in one cell, as JSON; no cell is a formula."""
    writer: csv.DictWriter[str] | None = None
    for row in rows:
        if writer is None:
            writer = csv.DictWriter(file, fieldnames=list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow({name: _cell(value) for name, value in row.items()})


def defused(text: str) -> str:
    """A text that no spreadsheet takes for a formula: an apostrophe goes before one that begins like it."""
    return f"'{text}" if text.startswith(FORMULAS) else text


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return defused(value)
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds")
    return json.dumps(value) if isinstance(value, (list, dict)) else value


def _conditions(chosen: Filter) -> list[ColumnElement[bool]]:
    parts = (
        (runs.c.state, chosen.states),
        (runs.c.model, chosen.models),
        (runs.c.task, chosen.tasks),
        (runs.c.recipe, chosen.recipes),
        (runs.c.source, chosen.sources),
        (DEPTH, chosen.depths),
    )
    return [column.in_(values) for column, values in parts if values] + _with_words(chosen.words)


def _keeps(layers: Sequence[int]) -> ColumnElement[bool]:
    """JSON as the store writes it."""
    return cast(runs.c.kept_layers, Text) == json.dumps(list(layers))


def _with_words(words: str) -> list[ColumnElement[bool]]:
    parts = words.replace(",", " ").split()
    if not parts:
        return []
    if all(part.isdecimal() and len(part) <= MOST_DIGITS for part in parts):
        numbers = [int(part) for part in parts]
        same_layers = _keeps(numbers)
        if len(parts) > 1:
            return [same_layers]
        return [or_(same_layers, runs.c.seed == numbers[0], runs.c.key.startswith(parts[0]))]
    return [
        or_(
            runs.c.key.startswith(word, autoescape=True),
            *(column.icontains(word, autoescape=True) for column in SEARCHED),
        )
        for word in words.split()
    ]
