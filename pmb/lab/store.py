"""The store: one database that remembers runs, layer scores and latencies. SQLite by default."""

from __future__ import annotations

import atexit
import hashlib
import json
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from filelock import FileLock, Timeout
from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Engine,
    Insert,
    Result,
    Select,
    Table,
    func,
    inspect,
    select,
    text,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from pmb.catalog.models import BaseModel
from pmb.catalog.tasks import Task
from pmb.errors import BadInput, DiskFull, NotAllowed, PmbError, StoreUnavailable
from pmb.files import write_whole
from pmb.lab.database import is_full, is_refused, make_engine, one_at_a_time, sentence, shown_url
from pmb.lab.rows import FORMS, Check, has_length, name_of, no_fault, of_layers, row_fault
from pmb.lab.schema import (
    REVISION,
    block_scores,
    dev_labels,
    latencies,
    layer_probes,
    layer_scores,
    memories,
    metadata,
    previews,
    runs,
    shipped_files,
    token_lengths,
    zero_layers,
)
from pmb.lab.silence import said_after
from pmb.lab.sqlite_file import OWN_REVISION, check_own, file_of, make_private
from pmb.settings import MOST_WAITING, Settings
from pmb.spec import Latency, RunResult, RunSpec
from pmb.strict import parse, read_as

SLOW = "another program has locked it, or it does not answer"
READ_ONLY = "This lab only shows results (PMB_READ_ONLY is set): nothing can be run or changed."
LOCK_SECONDS = 60.0  # a migration takes a second, of a large store some
MIGRATIONS = Path(__file__).parent / "migrations"
# What tables and charts need; predictions and logs are read for one run at a time.
LIST_COLUMNS = [c for c in runs.c if c.name not in ("predictions", "log", "losses")]
# Of runs, what files of an earlier version lack and what is never written into one.
MISSING = {"procedure": "cut-tune", "cancel_requested": False, "attempts": 0, "deaths": 0}
PACKED = ("predictions", "labels")  # long lists, of small numbers mostly

Row = dict[str, Any]
# What a row was read for, so that it can be read again, by the table's name and the row's primary key.
Damaged = dict[tuple[str, ...], Check]


@dataclass(frozen=True, slots=True)
class Store:
    """A database of the right schema, used on somebody's behalf.

    Every use goes through `connect`, which turns its faults into sentences; rows are read by `read`, which leaves
    damaged ones out. The stores of one process that are the same database share what they know of those.
    """

    engine: Engine
    user: str = ""  # on whose behalf; kept with the runs that he starts
    refusal: str = ""  # why nothing may be written through this store; empty where it may
    most_waiting: int = MOST_WAITING  # runs
    damaged: Damaged = field(default_factory=dict, compare=False, repr=False)  # rows that were left out

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A transaction: committed at the end, rolled back on an error; raises StoreUnavailable, NotAllowed."""
        try:
            with (
                said_after(f"Waiting for the store {shown_url(self.engine.url)}: {SLOW}."),
                self.engine.begin() as open_one,
            ):
                yield open_one
        except DBAPIError as error:
            if self.refusal and is_refused(error):
                raise NotAllowed(self.refusal) from error
            kind = DiskFull if is_full(error) else StoreUnavailable
            raise kind(sentence(self.engine, error)) from error
        except NoConnectionFree as error:
            raise StoreUnavailable("The store is asked for too much at a time; try again.") from error

    def read(self, table: Table, query: Select[Any], further: Check = no_fault) -> list[Row]:
        """The rows of a query over columns of one table, its primary key among them; damaged rows are left out.

        `further` says what else is wrong with a row where it is read for this; what is left out is remembered.
        """
        with self.connect() as connection:
            found = plain_rows(connection.execute(query))
        whole = []
        for row in found:
            if row_fault(table, row) or further(row):
                self.damaged[table.name, *(row[column.name] for column in table.primary_key)] = further
            else:
                whole.append(row)
        return whole

    def remember(self, table: Table, rows: Sequence[Row]) -> None:
        """Insert what was measured; what is there already stays, unless it is damaged."""
        names = [column.name for column in table.primary_key]
        with self.connect() as connection:
            for row in rows:
                if (table.name, *(row[name] for name in names)) in self.damaged:
                    connection.execute(table.delete().where(*(table.c[name] == row[name] for name in names)))
            if rows:
                connection.execute(self.insert_new(table), rows)

    def check_may_write(self) -> None:
        """Raise NotAllowed before work is done whose result the database would refuse."""
        if self.refusal:
            raise NotAllowed(self.refusal)

    def reader(self, refusal: str) -> Store:
        """The same database for those who may only look: it opens it so that the database refuses every change."""
        return replace(self, engine=make_engine(self.engine.url, read_only=True), refusal=refusal)

    def now(self, connection: Connection) -> float:
        """Seconds since 1970 by the one clock that all who use this database share: leases are compared with it."""
        if self.engine.dialect.name == "sqlite":
            return time.time()  # of the machine that the file is on
        return float(connection.execute(select(func.extract("epoch", func.clock_timestamp()))).scalar_one())

    def insert_new(self, table: Table) -> Insert:
        """An INSERT that leaves an existing row as it is."""
        if self.engine.dialect.name == "sqlite":
            return sqlite.insert(table).on_conflict_do_nothing()
        from sqlalchemy.dialects import postgresql  # time to import that a cached answer needs not take

        return postgresql.insert(table).on_conflict_do_nothing()

    def close(self) -> None:
        """Give back the connections."""
        self.engine.dispose()


def open_store(settings: Settings, user: str = "") -> Store:
    """Open the store, bring its schema up to date and read in new shipped results; raises StoreUnavailable.

    With PMB_READ_ONLY it is opened as it is, and can be on a disk that cannot be written.
    """
    inside = URL.create("sqlite", database=str(settings.home / "lab.sqlite"))
    if settings.read_only and not settings.database_url and not (settings.home / "lab.sqlite").is_file():
        return _passing_store(settings)
    try:
        engine = make_engine(settings.database_url or inside, settings.read_only)
    except (ArgumentError, ModuleNotFoundError) as error:
        raise StoreUnavailable(f"PMB_DATABASE_URL cannot be used: {error}.") from error
    store = Store(engine, user, READ_ONLY if settings.read_only else "", settings.most_waiting)
    try:
        if path := file_of(engine.url):
            check_own(path)
        if settings.read_only:
            _check_revision(store)
        else:
            _bring_up_to_date(store, settings)
    except PmbError:
        store.close()
        raise
    return store


def _bring_up_to_date(store: Store, settings: Settings) -> None:
    try:
        settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        if (path := file_of(store.engine.url)) and path.parent.is_dir():
            make_private(path)
        if _revision(store) != REVISION:
            _migrate(store, settings.home / "store.lock")
    except OSError as error:
        raise StoreUnavailable(f"Cannot write into PMB_HOME {settings.home}: {error.strerror or error}.") from error
    _read_shipped(store, settings.shipped)


def _check_revision(store: Store) -> None:
    if (found := _revision(store)) != REVISION:
        raise StoreUnavailable(
            f"The store is of schema {found or 'none'} and this version needs {REVISION}: open it once without "
            "PMB_READ_ONLY."
        )


def _passing_store(settings: Settings) -> Store:
    """The shipped results alone, for the life of this process: a home without a store stays as it is."""
    folder = Path(mkdtemp(prefix="pmb-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    opened = open_store(replace(settings, read_only=False, home=folder))
    reader = opened.reader(READ_ONLY)
    opened.close()
    return reader


def plain_rows(result: Result[Any]) -> list[Row]:
    """What a query gave, with names that are strings and nothing more, as SQLAlchemy's own are not."""
    names = [str(name) for name in result.keys()]  # noqa: SIM118 (it is no dict)
    return [dict(zip(names, row, strict=True)) for row in result]


def list_runs(store: Store, *states: str) -> list[Row]:
    """Runs without their predictions and logs, oldest first; all of them where no state is named."""
    query = select(*LIST_COLUMNS).order_by(runs.c.queued_at, runs.c.key)
    if states:
        query = query.where(runs.c.state.in_(states))
    return store.read(runs, query)


def runs_by_key(store: Store, keys: Sequence[str]) -> list[Row]:
    """Those runs, without their predictions and logs, oldest first."""
    return store.read(runs, select(*LIST_COLUMNS).where(runs.c.key.in_(keys)).order_by(runs.c.queued_at, runs.c.key))


def get_run(store: Store, key: str) -> Row | None:
    """All columns of one run; None where it is not there or its row is damaged."""
    return next(iter(store.read(runs, select(runs).where(runs.c.key == key))), None)


def damaged_rows(store: Store, everything: bool = False) -> list[str]:
    """The damaged rows that were left out and still are, each with why; with `everything`, all that the store has."""
    if everything:
        for table in (table for table in metadata.sorted_tables if table.name in FORMS):
            store.read(table, select(table))
    told = []
    known = list(store.damaged)  # others may add to it meanwhile
    for name, *values in sorted(known, key=str):
        further = store.damaged.get((name, *values), no_fault)
        table = metadata.tables[name]
        same = [column == value for column, value in zip(table.primary_key, values, strict=True)]
        with store.connect() as connection:
            found = plain_rows(connection.execute(select(table).where(*same)))
        if found and (why := row_fault(table, found[0]) or further(found[0])):
            told.append(f"{name_of(table, found[0])} ({why})")
        else:
            store.damaged.pop((name, *values), None)  # it was mended, or is gone
    return told


def about(model: BaseModel, task: Task) -> Row:
    """A model and a task as they are now, as the columns of most tables name them."""
    return {"model": model.id, "model_revision": model.revision, "task": task.id, "task_revision": task.revision}


def matching(table: Table, values: Row) -> list[ColumnElement[bool]]:
    """The conditions that a row has these values in those columns."""
    return [table.c[name] == value for name, value in values.items()]


def change_mark(store: Store) -> tuple[Any, ...]:
    """A small value that differs whenever finished runs or anything else measured differs."""
    done = select(func.count(), func.max(runs.c.finished_at)).where(runs.c.state == "done")
    others = (latencies, memories, layer_scores, block_scores, layer_probes, previews, dev_labels, zero_layers)
    with store.connect() as connection:
        newest = [connection.execute(select(func.max(table.c.measured_at))).scalar() for table in others]
        return (*connection.execute(done).one(), *newest)


def list_latencies(store: Store, model: str, model_revision: str) -> list[Row]:
    """Every measured latency of a base model."""
    query = select(latencies).where(latencies.c.model == model, latencies.c.model_revision == model_revision)
    return store.read(latencies, query)


def save_latencies(store: Store, spec: RunSpec, measured: Iterable[Latency]) -> None:
    """Remember latencies; one that is there already stays."""
    rows = [
        asdict(latency)
        | {"model": spec.model, "model_revision": spec.model_revision, "source": "measured", "measured_at": time.time()}
        for latency in measured
    ]
    store.remember(latencies, rows)


def save_memory(store: Store, key: str, result: RunResult) -> None:
    """Remember the peak memory of a run where it was measured; what is there already stays."""
    if result.peak_megabytes is None:
        return
    names = ("device", "machine", "peak_megabytes", "idle_megabytes", "versions")
    row = {"key": key, "source": "measured", "measured_at": time.time()}
    store.remember(memories, [row | {name: getattr(result, name) for name in names}])


def get_layer_scores(store: Store, identity: Row, depth: int) -> tuple[float, ...] | None:
    """The contribution scores for a model of so many layers, a task, their revisions and a number of sentences."""
    query = select(layer_scores).where(*matching(layer_scores, identity))
    found = store.read(layer_scores, query, has_length("scores", depth))
    return tuple(found[0]["scores"]) if found else None


def save_layer_scores(store: Store, identity: Row, scores: Sequence[float]) -> None:
    """Remember contribution scores; what is there already stays."""
    store.remember(layer_scores, [identity | {"scores": list(scores), "measured_at": time.time()}])


def get_block_scores(store: Store, identity: Row, depth: int) -> dict[str, Any]:
    """The scores of the strategies beside the paper's for the same, by strategy, as far as they are known."""
    query = select(block_scores).where(*matching(block_scores, identity))
    return {row["strategy"]: row["scores"] for row in store.read(block_scores, query, of_layers(depth))}


def save_block_scores(store: Store, identity: Row, scores: Mapping[str, Any]) -> None:
    """Remember them; what is there already stays."""
    row = identity | {"measured_at": time.time()}
    rows = [row | {"strategy": strategy, "scores": found} for strategy, found in scores.items()]
    store.remember(block_scores, rows)


def write_shipped(store: Store, folder: Path) -> dict[str, int]:
    """Write everything finished that is measured as JSON lines for the repository; returns rows per file."""
    private = {"started_by", "worker", "lease_until", "renewed_at", "cancel_requested", "progress", "log", "error"}
    private |= {"deaths", "not_before"}
    tables: tuple[tuple[Table, Any], ...] = (
        *(
            (table, select(*(c for c in table.c if c.name not in private)).where(table.c.state == "done"))
            for table in (runs, layer_probes)
        ),
        (layer_scores, select(layer_scores)),
        (block_scores, select(block_scores)),
        (dev_labels, select(dev_labels)),
        (zero_layers, select(zero_layers)),
        (token_lengths, select(token_lengths)),
        (latencies, select(latencies)),
        (memories, select(memories)),
        (previews, select(previews)),
    )
    counts = {}
    for table, query in tables:
        rows = store.read(table, query.order_by(*table.primary_key))
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
    measured = (layer_scores, block_scores, layer_probes, dev_labels, zero_layers, latencies, memories, previews)
    for table in (runs, token_lengths, *measured):
        path = folder / f"{table.name}.jsonl"
        if not path.is_file():
            continue
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        known = select(shipped_files.c.digest).where(shipped_files.c.name == table.name)
        with store.connect() as connection:
            if connection.execute(known).scalar() == digest:
                continue
        rows = [_shipped_row(table, line, path) for line in content.splitlines()]
        with store.connect() as connection:
            one_at_a_time(connection)
            if connection.execute(known).scalar() == digest:
                continue  # another process has done it meanwhile
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


def _shipped_row(table: Table, line: bytes, path: Path) -> Row:
    """A line as a row of the table: columns that it lacks have their default, names that are no column are left out.

    Raises PmbError where a line is none that was written here.
    """
    try:
        given = read_as(dict[str, Any], parse(line, "A line"), "A line")
        given |= {name: _unpacked(given[name]) for name in PACKED if name in given}
        row = {name: given.get(name, MISSING.get(name)) for name in map(str, table.c.keys())}
        required = [column.name for column in table.c if not column.nullable and row[column.name] is None]
        if why := f"{required[0]} is missing" if required else row_fault(table, row):
            raise BadInput(why)
    except (BadInput, ValueError, TypeError) as error:
        raise PmbError(f"{path} is damaged ({error}); `git checkout {path}` brings it back.") from error
    return row


def _packed(predictions: list[int | float]) -> str | list[int | float]:
    """Classes below 10 as a string of digits; the numbers of a regression to 4 decimals."""
    if all(isinstance(value, int) for value in predictions):
        return "".join(map(str, predictions)) if max(predictions) < 10 else predictions
    return [round(value, 4) for value in predictions]


def _unpacked(packed: str | list[int | float]) -> list[int | float]:
    return [int(digit) for digit in packed] if isinstance(packed, str) else packed


def _revision(store: Store) -> str | None:
    """The schema that the database has; None for an empty one; raises StoreUnavailable for a newer one."""
    with store.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if found is not None and not OWN_REVISION.fullmatch(found):
        raise StoreUnavailable(
            f"The database {shown_url(store.engine.url)} is another program's (its schema is {found!r}) and is left as "
            "it is; name another in PMB_DATABASE_URL."
        )
    if found is not None and found > REVISION:
        raise StoreUnavailable(
            f"The store is of schema {found}; this version knows up to {REVISION}. Get a newer lab, or set PMB_HOME to "
            "another folder."
        )
    return found


@contextmanager
def _migrating(store: Store, lock: Path) -> Iterator[None]:
    """One process at a time of those on this machine; raises StoreUnavailable where another does not come to an end."""
    if store.engine.dialect.name != "sqlite":
        yield
        return
    own_file = FileLock(lock, timeout=LOCK_SECONDS)
    try:
        with said_after(f"Waiting for another process that makes the store ready and holds {lock}."):
            own_file.acquire()
    except Timeout as error:
        raise StoreUnavailable(
            f"Another process has held {lock} for {LOCK_SECONDS:.0f} s to make the store ready; end it and try again."
        ) from error
    try:
        yield
    finally:
        own_file.release()


def _migrate(store: Store, lock: Path) -> None:
    from alembic import command  # takes 0.2 s, needed once in a store's life
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with _migrating(store, lock), store.connect() as connection:
        one_at_a_time(connection)
        if (found := _revision(store)) == REVISION:
            return  # another process has done it meanwhile
        if found is None and (taken := set(inspect(connection).get_table_names()) & set(metadata.tables)):
            raise StoreUnavailable(
                f"The database {shown_url(store.engine.url)} has a table {min(taken)!r} of another program and is left "
                "as it is; name another in PMB_DATABASE_URL."
            )
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
