"""Waiting for runs: by the worker that is there, else by one of our own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from pmb.errors import PmbError, WorkerBusy
from pmb.lab import holder, queue
from pmb.lab.store import Row, Store, runs_by_key
from pmb.lab.worker import work
from pmb.settings import Settings
from pmb.spec import progress_words

LOOK_SECONDS = 0.5
PATIENCE_SECONDS = 3.0  # before it is said why nothing goes on; a worker that starts takes one

Tell = Callable[[str], None]


def wait_for(store: Store, settings: Settings, keys: Sequence[str], tell: Tell, warn: Tell | None = None) -> None:
    """Return when all the runs have ended; tells how far they are, and at last an empty line. Raises PmbError.

    `warn` is given a sentence, once, where nothing goes on and somebody has to do something.
    """

    def look() -> str | None:
        rows = runs_by_key(store, keys)
        return None if all(row["state"] in queue.ENDED for row in rows) else _line(store, rows)

    wait_until_none(store, settings, look, tell, warn)


def wait_until_none(
    store: Store, settings: Settings, look: Callable[[], str | None], tell: Tell, warn: Tell | None = None
) -> None:
    """Tell the line that `look` gives until it gives none, and at last an empty one.

    Works the queue itself for as long as no other worker is alive. `warn`: as for `wait_for`. Raises PmbError.
    """
    watch = _Watch(store, settings, warn or tell)
    failures: list[PmbError] = []
    stop = threading.Event()
    own: threading.Thread | None = None

    def work_here() -> None:
        try:
            work(store, settings, stop)
        except WorkerBusy:
            return  # another worker came first: it does the runs
        except PmbError as error:
            failures.append(error)
        except OSError as error:
            failures.append(PmbError(f"The worker cannot go on: {error.strerror or error}."))

    try:
        while True:
            line = look()
            if line is None:
                break
            if failures:
                raise failures[0]
            working = own is not None and own.is_alive()
            if not working:
                heard = bool(queue.list_workers(store))
                watch.look(heard)
                if not heard:
                    own = threading.Thread(target=work_here)
                    own.start()
            tell(line)
            time.sleep(LOOK_SECONDS)
    finally:
        stop.set()
        if own:
            own.join()
    tell("")


class _Watch:
    """Sees whether another process keeps this one from working, and does nothing itself."""

    def __init__(self, store: Store, settings: Settings, warn: Tell) -> None:
        self._store, self._settings, self._warn = store, settings, warn
        self._since = time.monotonic()
        self._warned = ""

    def look(self, heard: bool) -> None:
        """Warn once of each reason that lasts; `heard`: whether some worker of the store is alive."""
        why = holder.trouble(self._settings, self._store)
        if heard and not holder.is_stopped(self._settings):
            why = ""  # another machine's worker, say, does the runs
        if not why and not heard and holder.worker_is_here(self._settings):
            why = holder.silent(self._settings)
        if not why:
            self._since = time.monotonic()
        elif why != self._warned and time.monotonic() - self._since >= PATIENCE_SECONDS:
            self._warned = why
            self._warn(why)


def _line(store: Store, rows: Sequence[Row]) -> str:
    ended = sum(row["state"] in queue.ENDED for row in rows)
    running = next((row for row in rows if row["state"] == "running"), None)
    line = f"{ended} of {len(rows)} done" if len(rows) > 1 else ""
    if running and running["progress"]:
        progress = running["progress"]
        loss, seconds_left = progress["loss"], progress["seconds_left"]
        words = progress_words(
            progress,
            "" if loss is None else f"loss {loss:.3f}",
            "" if seconds_left is None else f"{seconds_left:.0f} s left",
        )
        return f"{line}  {words}" if line else words
    waiting = next((row for row in rows if row["state"] == "queued"), None)
    before = queue.waiting_before(store, waiting["key"]) if waiting else None
    return f"{line}  waiting, {before} before it" if before else f"{line}  waiting"
