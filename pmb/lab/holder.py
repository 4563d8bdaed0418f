"""Who works a home: the worker that holds its lock, for which store, and why nothing goes on where that is so."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from pmb.errors import WorkerBusy
from pmb.files import write_whole
from pmb.lab.database import shown_url
from pmb.lab.sqlite_file import file_of
from pmb.lab.store import Store
from pmb.settings import Settings

STOPPED = (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)


@dataclass(frozen=True, slots=True)
class Holder:
    """The worker that holds the lock of a home, as it has written itself down."""

    pid: int
    host: str
    since: float  # seconds since 1970
    store: str  # where its database is, without a password

    def words(self) -> str:
        """Such as "process 123, since 2026-11-26 14:03 UTC"."""
        since = datetime.fromtimestamp(self.since, UTC).strftime("%Y-%m-%d %H:%M UTC")
        where = "" if self.host == socket.gethostname() else f" on {self.host}"
        return f"process {self.pid}{where}, since {since}"

    def is_stopped(self) -> bool:
        """Whether it is halted, by Ctrl-Z or SIGSTOP; another machine's processes are not seen."""
        if self.host != socket.gethostname():
            return False
        try:
            return psutil.Process(self.pid).status() in STOPPED
        except psutil.Error:
            return False


@contextmanager
def holding(settings: Settings, store: Store) -> Iterator[None]:
    """Hold the lock of the home for this process's worker; raises WorkerBusy, which says who holds it."""
    lock = FileLock(_lock(settings), timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        found = find_holder(settings)
        who = f" ({found.words()})" if found else ""
        why = trouble(settings, store)
        raise WorkerBusy(why or f"A worker already works {settings.home}{who}; one is enough.") from error
    try:
        own = Holder(os.getpid(), socket.gethostname(), time.time(), _place(store))
        with suppress(OSError):  # a full disk: it is known without a name
            write_whole(_card(settings), json.dumps(asdict(own)).encode())
        yield
    finally:
        with suppress(OSError):
            _card(settings).unlink(missing_ok=True)
        lock.release()


def worker_is_here(settings: Settings) -> bool:
    """Whether a worker on this machine works this PMB_HOME."""
    try:
        with FileLock(_lock(settings), timeout=0):
            return False
    except Timeout:
        return True


def find_holder(settings: Settings) -> Holder | None:
    """Who has written itself down as the worker of this home; None where nobody has, or it is gone."""
    try:
        found = Holder(**json.loads(_card(settings).read_bytes()))
        found.words()
    except (OSError, ValueError, TypeError, OverflowError):
        return None
    gone = found.host == socket.gethostname() and not psutil.pid_exists(found.pid)
    return None if gone else found


def is_stopped(settings: Settings) -> bool:
    """Whether the worker of this home is halted."""
    found = find_holder(settings)
    return found is not None and found.is_stopped()


def trouble(settings: Settings, store: Store) -> str:
    """Why the worker that holds the lock of this home does no run of this store, and what to do; empty where it may."""
    found = find_holder(settings)
    if found is None or not worker_is_here(settings):
        return ""
    if found.is_stopped():
        return (
            f"The worker of {settings.home} ({found.words()}) is stopped and holds the lock: `fg` in its terminal or "
            f"`kill -CONT {found.pid}` lets it go on, `kill -KILL {found.pid}` ends it; its runs are not lost."
        )
    here = _place(store)
    if found.store != here:
        return (
            f"The worker of {settings.home} ({found.words()}) works another store, {found.store}, and this is {here}: "
            f"end it with `kill {found.pid}`, or set PMB_HOME to another folder for one of the two."
        )
    return ""


def silent(settings: Settings) -> str:
    """The sentence for a lock whose holder may work this store, and has not been heard of for a while."""
    found = find_holder(settings)
    who, how = (found.words(), f" with `kill {found.pid}`") if found else ("an unknown process", "")
    return (
        f"The worker of {settings.home} ({who}) holds the lock {_lock(settings).name} and has not been heard of: wait "
        f"for it, or end it{how}."
    )


def _place(store: Store) -> str:
    file = file_of(store.engine.url)
    return str(file.resolve()) if file else shown_url(store.engine.url)


def _lock(settings: Settings) -> Path:
    return settings.home / "worker.lock"


def _card(settings: Settings) -> Path:
    return settings.home / "worker.json"
