"""The store: one database that remembers runs, layer scores and latencies. SQLite by default."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock
from sqlalchemy import (
    URL,
    Connection,
    Engine,
    Insert,
    Table,
    create_engine,
    event,
    func,
    inspect,
    select,
    text,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError

from pmb.errors import DiskFull, PmbError, StoreUnavailable
from pmb.files import write_whole
from pmb.lab.schema import REVISION, dev_labels, latencies, layer_probes, layer_scores, memories, runs, shipped_files
from pmb.settings import Settings
from pmb.spec import Latency, RunResult, RunSpec

BUSY_SECONDS = 5
MIGRATIONS = Path(__file__).parent / "migrations"
# What tables and charts need; predictions and logs are read for one run at a time.
LIST_COLUMNS = [c for c in runs.c if c.name not in ("predictions", "log", "losses")]
PACKED = ("predictions", "labels")  # long lists, of small numbers mostly

Row = dict[str, Any]


class Store:
    """A database of the right schema. Every use goes through `connect`, which turns its faults into sentences."""

    def __init__(self, engine: Engine) -> None:
        """Take over an engine; `open_store` makes one with the right schema."""
        self.engine = engine

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A transaction: committed at the end, rolled back on an error; raises StoreUnavailable."""
        try:
            with self.engine.begin() as connection:
                yield connection
        except DBAPIError as error:
            kind = DiskFull if _is_full(error) else StoreUnavailable
            raise kind(_sentence(self.engine, error)) from error

    def insert_new(self, table: Table) -> Insert:
        """An INSERT that leaves an existing row as it is."""
        if self.engine.dialect.name == "sqlite":
            return sqlite.insert(table).on_conflict_do_nothing()
        from sqlalchemy.dialects import postgresql  # time to import that a cached answer needs not take

        return postgresql.insert(table).on_conflict_do_nothing()

    def close(self) -> None:
        """Give back the connections."""
        self.engine.dispose()


def open_store(settings: Settings) -> Store:
    """Open the store, bring its schema up to date and read in new shipped results; raises StoreUnavailable."""
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
        inside = URL.create("sqlite", database=str(settings.home / "lab.sqlite"))
        store = Store(_engine(settings.database_url or inside))
        if _revision(store) != REVISION:
            with FileLock(settings.home / "store.lock"):
                _migrate(store)
    except OSError as error:
        raise StoreUnavailable(f"Cannot write into PMB_HOME {settings.home}: {error.strerror or error}.") from error
    except (ArgumentError, ModuleNotFoundError) as error:
        raise StoreUnavailable(f"PMB_DATABASE_URL cannot be used: {error}.") from error
    _read_shipped(store, settings.shipped)
    return store


def list_runs(store: Store, *states: str) -> list[Row]:
    """Runs without their predictions and logs, oldest first; all of them where no state is named."""
    query = select(*LIST_COLUMNS).order_by(runs.c.queued_at, runs.c.key)
    if states:
        query = query.where(runs.c.state.in_(states))
    with store.connect() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def runs_by_key(store: Store, keys: Sequence[str]) -> list[Row]:
    """Those runs, without their predictions and logs, oldest first."""
    query = select(*LIST_COLUMNS).where(runs.c.key.in_(keys)).order_by(runs.c.queued_at, runs.c.key)
    with store.connect() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def get_run(store: Store, key: str) -> Row | None:
    """All columns of one run."""
    with store.connect() as connection:
        row = connection.execute(select(runs).where(runs.c.key == key)).mappings().first()
    return dict(row) if row else None


def change_mark(store: Store) -> tuple[Any, ...]:
    """A small value that differs whenever finished runs or anything else measured differs."""
    done = select(func.count(), func.max(runs.c.finished_at)).where(runs.c.state == "done")
    others = (latencies, memories, layer_scores, layer_probes, dev_labels)
    with store.connect() as connection:
        newest = [connection.execute(select(func.max(table.c.measured_at))).scalar() for table in others]
        return (*connection.execute(done).one(), *newest)


def list_latencies(store: Store, model: str, model_revision: str) -> list[Row]:
    """Every measured latency of a base model."""
    query = select(latencies).where(latencies.c.model == model, latencies.c.model_revision == model_revision)
    with store.connect() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def save_latencies(store: Store, spec: RunSpec, measured: Iterable[Latency]) -> None:
    """Remember latencies; one that is there already stays."""
    rows = [
        asdict(latency)
        | {"model": spec.model, "model_revision": spec.model_revision, "source": "measured", "measured_at": time.time()}
        for latency in measured
    ]
    if rows:
        with store.connect() as connection:
            connection.execute(store.insert_new(latencies), rows)


def save_memory(store: Store, key: str, result: RunResult) -> None:
    """Remember the peak memory of a run where it was measured; what is there already stays."""
    if result.peak_megabytes is None:
        return
    names = ("device", "machine", "peak_megabytes", "idle_megabytes", "versions")
    row = {"key": key, "source": "measured", "measured_at": time.time()}
    with store.connect() as connection:
        connection.execute(store.insert_new(memories), row | {name: getattr(result, name) for name in names})


def get_layer_scores(store: Store, identity: Row) -> tuple[float, ...] | None:
    """The contribution scores for a model, a task, their revisions and a number of sentences."""
    query = select(layer_scores.c.scores).where(*(layer_scores.c[name] == value for name, value in identity.items()))
    with store.connect() as connection:
        scores = connection.execute(query).scalar()
    return tuple(scores) if scores else None


def save_layer_scores(store: Store, identity: Row, scores: Sequence[float]) -> None:
    """Remember contribution scores; what is there already stays."""
    with store.connect() as connection:
        row = identity | {"scores": list(scores), "measured_at": time.time()}
        connection.execute(store.insert_new(layer_scores), row)


def write_shipped(store: Store, folder: Path) -> dict[str, int]:
    """Write everything finished that is measured as JSON lines for the repository; returns rows per file."""
    private = {"worker", "lease_until", "renewed_at", "cancel_requested", "progress", "log", "error"}
    private |= {"deaths", "not_before"}
    tables: tuple[tuple[Table, Any], ...] = (
        *(
            (table, select(*(c for c in table.c if c.name not in private)).where(table.c.state == "done"))
            for table in (runs, layer_probes)
        ),
        (layer_scores, select(layer_scores)),
        (dev_labels, select(dev_labels)),
        (latencies, select(latencies)),
        (memories, select(memories)),
    )
    counts = {}
    for table, query in tables:
        with store.connect() as connection:
            rows = [dict(row) for row in connection.execute(query.order_by(*table.primary_key)).mappings()]
        for row in rows:
            row |= {"source": "shipped"} if "source" in row else {}
            row |= {name: _packed(row[name]) for name in PACKED if name in row}
        lines = "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows)
        try:
            write_whole(folder / f"{table.name}.jsonl", lines.encode())
        except OSError as error:
            raise PmbError(f"Cannot write {table.name}.jsonl into {folder}: {error.strerror or error}.") from error
        counts[table.name] = len(rows)
    return counts


def _read_shipped(store: Store, folder: Path) -> None:
    """Read in the shipped files that are new or changed; a run that was measured here wins over a shipped one."""
    for table in (runs, layer_scores, layer_probes, dev_labels, latencies, memories):
        path = folder / f"{table.name}.jsonl"
        if not path.is_file():
            continue
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        with store.connect() as connection:
            known = connection.execute(select(shipped_files.c.digest).where(shipped_files.c.name == table.name))
            if known.scalar() == digest:
                continue
        rows = [_shipped_row(line, path) for line in content.splitlines()]
        with store.connect() as connection:
            if "source" not in table.c:
                for row in rows:
                    same = [column == row[column.name] for column in table.primary_key]
                    connection.execute(table.delete().where(*same))
            else:
                connection.execute(table.delete().where(table.c.source == "shipped"))
            if rows:
                connection.execute(store.insert_new(table), rows)
            connection.execute(shipped_files.delete().where(shipped_files.c.name == table.name))
            connection.execute(shipped_files.insert(), {"name": table.name, "digest": digest})


def _shipped_row(line: bytes, path: Path) -> Row:
    try:
        row: Row = json.loads(line)
    except ValueError as error:
        raise PmbError(f"{path} is damaged; `git checkout {path}` brings it back.") from error
    row |= {name: _unpacked(row[name]) for name in PACKED if name in row}
    if "predictions" in row:
        row["cancel_requested"] = False
        row = {"procedure": "cut-tune", "scores": None, "fast": None} | row  # which files of schema 0001 do not have
    return row


def _packed(predictions: list[int | float]) -> str | list[int | float]:
    """Classes below 10 as a string of digits; the numbers of a regression to 4 decimals."""
    if all(isinstance(value, int) for value in predictions):
        return "".join(map(str, predictions)) if max(predictions) < 10 else predictions
    return [round(value, 4) for value in predictions]


def _unpacked(packed: str | list[int | float]) -> list[int | float]:
    return [int(digit) for digit in packed] if isinstance(packed, str) else packed


def _engine(url: str | URL) -> Engine:
    engine = create_engine(url, pool_pre_ping=not str(url).startswith("sqlite"))
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")  # a finished run survives a power cut
    cursor.close()


def _revision(store: Store) -> str | None:
    """The schema that the database has; None for an empty one; raises StoreUnavailable for a newer one."""
    with store.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if found is not None and found > REVISION:
        raise StoreUnavailable(
            f"The store is of schema {found}; this version knows up to {REVISION}. Get a newer lab, or set PMB_HOME to "
            "another folder."
        )
    return found


def _migrate(store: Store) -> None:
    from alembic import command  # takes 0.2 s, needed once in a store's life
    from alembic.config import Config

    if _revision(store) == REVISION:
        return
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with store.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _is_full(error: DBAPIError) -> bool:
    return any(word in str(error.orig) for word in ("is full", "No space left"))


def _sentence(engine: Engine, error: DBAPIError) -> str:
    """What happened and what to do, from the database's own words."""
    words = str(error.orig).strip()
    where = engine.url.database if engine.dialect.name == "sqlite" else engine.url.render_as_string()
    if "locked" in words:
        return f"The store {where} is locked by another program for more than {BUSY_SECONDS} s; try again."
    if "malformed" in words or "not a database" in words or "disk image" in words:
        return (
            f"The store {where} is damaged ({words}). Move it away and start again: shipped results come back, and "
            "runs measured here can be run again."
        )
    if _is_full(error):
        return f"The disk of the store {where} is full; free some space and try again. Nothing was lost."
    if "readonly" in words or "unable to open" in words:
        return f"The store {where} cannot be opened for writing ({words})."
    return f"The store {where} does not answer: {words.splitlines()[0]}."
