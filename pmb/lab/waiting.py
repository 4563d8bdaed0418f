"""Waiting for runs: by the worker that is there, else by one of our own."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from pmb.errors import PmbError, WorkerBusy
from pmb.lab import queue
from pmb.lab.store import Row, Store, list_runs
from pmb.lab.worker import work
from pmb.settings import Settings

LOOK_SECONDS = 0.5


def wait_for(store: Store, settings: Settings, keys: Sequence[str], tell: Callable[[str], None]) -> None:
    """Return when all the runs have ended; tells how far they are, and at last an empty line.

    Where no worker is alive, works the queue itself meanwhile. Raises StoreUnavailable.
    """
    wanted = set(keys)
    with _some_worker(store, settings) as failures:
        while True:
            rows = [row for row in list_runs(store) if row["key"] in wanted]
            if all(row["state"] in queue.ENDED for row in rows):
                break
            if failures:
                raise failures[0]
            tell(_line(store, rows))
            time.sleep(LOOK_SECONDS)
    tell("")


@contextlib.contextmanager
def _some_worker(store: Store, settings: Settings) -> Iterator[list[PmbError]]:
    """A thread that works the queue, unless somebody else does; yields what it died of."""
    failures: list[PmbError] = []
    if queue.list_workers(store):
        yield failures
        return
    stop = threading.Event()

    def work_here() -> None:
        try:
            work(store, settings, stop)
        except WorkerBusy:
            return  # another worker came first: it does the runs
        except PmbError as error:
            failures.append(error)

    thread = threading.Thread(target=work_here)
    thread.start()
    try:
        yield failures
    finally:
        stop.set()
        thread.join()


def _line(store: Store, rows: Sequence[Row]) -> str:
    ended = sum(row["state"] in queue.ENDED for row in rows)
    running = next((row for row in rows if row["state"] == "running"), None)
    line = f"{ended} of {len(rows)} done" if len(rows) > 1 else ""
    if running and running["progress"]:
        progress = running["progress"]
        parts = [line, progress["phase"]]
        if progress["steps"]:
            parts.append(f"step {progress['step']} of {progress['steps']}")
        if progress["loss"] is not None:
            parts.append(f"loss {progress['loss']:.3f}")
        if progress["seconds_left"] is not None:
            parts.append(f"{progress['seconds_left']:.0f} s left")
        return "  ".join(part for part in parts if part)
    waiting = next((row for row in rows if row["state"] == "queued"), None)
    before = queue.waiting_before(store, waiting["key"]) if waiting else None
    return f"{line}  waiting, {before} before it" if before else f"{line}  waiting"
