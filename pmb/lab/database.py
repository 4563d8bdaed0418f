"""The databases that the store can lie in, SQLite or PostgreSQL: connections to them, and their faults in words."""

from __future__ import annotations

import json
import math
import os
import re
import sqlite3
from functools import partial
from typing import Any

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, func, make_url, select
from sqlalchemy.exc import ArgumentError, DBAPIError

from pmb.lab.rows import read_json
from pmb.lab.sqlite_file import connect_to_read, file_of

BUSY_SECONDS = 20  # many writers at a time wait for each other without an order
PATIENCE = {"connect_timeout": 5, "application_name": "pmb"}  # of PostgreSQL's client; seconds
URL_FORM = (
    "it has to be postgresql://USER:PASSWORD@HOST:PORT/NAME or sqlite:///PATH; in a password @ is written %40, / is "
    "%2F, ? is %3F, # is %23 and % is %25"
)
ADVISORY_LOCK = 0x706D62  # the number under which PostgreSQL lets one process at a time migrate or read in


def make_engine(given: str | URL, read_only: bool = False) -> Engine:
    """Connections to that database, all of them unable to write where `read_only`; raises ArgumentError."""
    url = _parse(given)
    if url.drivername == "postgres":  # as some hosts write it
        url = url.set(drivername="postgresql")
    if url.get_backend_name() == "postgresql":
        engine = create_engine(
            url,
            json_serializer=_json,
            json_deserializer=read_json,
            pool_pre_ping=True,  # a server that was started again costs nobody an error
            connect_args={name: value for name, value in PATIENCE.items() if name not in url.query},
        )
        return engine.execution_options(postgresql_readonly=True) if read_only else engine
    if url.get_backend_name() != "sqlite":
        raise ArgumentError(f"it begins with {url.drivername!r}, and only postgresql:// and sqlite:/// are known")
    how: dict[str, Any] = {"json_serializer": _json, "json_deserializer": read_json}
    if read_only and (path := file_of(url)):
        how["creator"] = partial(connect_to_read, path)
        if not os.access(path.parent, os.W_OK):
            how["poolclass"] = NullPool  # each transaction sees whether somebody writes the store by now
    engine = create_engine(url, **how)
    event.listen(engine, "connect", _prepare_reader if read_only else _prepare_sqlite)
    return engine


def _parse(given: str | URL) -> URL:
    """Read the URL; raises ArgumentError, which never quotes it: it has a password."""
    if isinstance(given, URL):
        return given
    try:
        url = make_url(given)
    except (ArgumentError, ValueError) as error:
        raise ArgumentError(URL_FORM) from error
    # An @ ends the password. After one that is not escaped, the rest of the password counts as host, path or query;
    # and where the query has the password, all that is before the @ counts as user and password.
    rest = f"{url.host}{url.database}{given.partition('?')[2] if url.password else ''}"
    if url.get_backend_name() != "sqlite" and ("@" in rest or re.search(r"\?.*=", str(url.password), re.DOTALL)):
        raise ArgumentError(URL_FORM)
    return url


def shown_url(url: URL) -> str:
    """Where a database is, for people: without the password, and without the query, which can have one too."""
    if url.get_backend_name() == "sqlite":
        return f"sqlite:///{url.database or ''}"
    return url.set(password=None, query={}).render_as_string()


def _json(value: Any) -> str:
    """JSON of what a run reports; a loss that became NaN is null, since PostgreSQL takes JSON at its word."""
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# A text that is no UTF-8 would end the reading of all rows; so it is read with marks of lost characters.
_READ_TEXT = partial(str, encoding="utf-8", errors="replace")


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.text_factory = _READ_TEXT
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
    if cursor.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        _begin_wal(cursor)
    cursor.execute("PRAGMA synchronous = FULL")  # a finished run survives a power cut
    cursor.close()


def _begin_wal(cursor: sqlite3.Cursor) -> None:
    """Once in a file's life; where several open a new one at a time, SQLite lets one and refuses the others at once."""
    from tenacity import Retrying, retry_if_exception_message, stop_after_delay, wait_random  # for a new file alone

    locked = retry_if_exception_message(match=".*locked")
    patiently = Retrying(retry=locked, stop=stop_after_delay(BUSY_SECONDS), wait=wait_random(0, 0.05), reraise=True)
    patiently(cursor.execute, "PRAGMA journal_mode = WAL")


def _prepare_reader(connection: Any, _record: object) -> None:
    connection.text_factory = _READ_TEXT
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
    cursor.execute("PRAGMA query_only = ON")
    cursor.close()


def is_full(error: DBAPIError) -> bool:
    """Whether the disk of the database is full."""
    return any(word in str(error.orig) for word in ("is full", "No space left"))


def is_refused(error: DBAPIError) -> bool:
    """Whether the database refused to write because it was opened to be read."""
    return "readonly database" in str(error.orig) or getattr(error.orig, "sqlstate", "") == "25006"


def begin_writing(connection: Connection) -> None:
    """Wait for the one place of a writer that SQLite has, before a clock is read: no lease may begin in the queue."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def one_at_a_time(connection: Connection) -> None:
    """Wait until no other process is within such a part; SQLite has one writer in any case."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(ADVISORY_LOCK)))


def sentence(engine: Engine, error: DBAPIError) -> str:
    """What happened and what to do, from the database's own words."""
    words = str(error.orig).strip()
    where = engine.url.database if engine.dialect.name == "sqlite" else shown_url(engine.url)
    if "locked" in words:
        return f"The store {where} is locked by another program for more than {BUSY_SECONDS} s; try again."
    if "malformed" in words or "not a database" in words or "disk image" in words:
        return (
            f"The store {where} is damaged ({words}). Move it away and start again: shipped results come back, and "
            "runs measured here can be run again."
        )
    if is_full(error):
        return f"The disk of the store {where} is full; free some space and try again. Nothing was lost."
    if "readonly" in words or "unable to open" in words:
        return f"The store {where} cannot be opened for writing ({words})."
    if "connection option" in words:  # the words quote the query, which can have the password
        words = "PostgreSQL does not know an option in the query of the URL"
    return f"The store {where} does not answer: {words.splitlines()[0]}."
