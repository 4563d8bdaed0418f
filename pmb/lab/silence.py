"""No wait without a word: what takes longer than a few seconds is said once, to whoever waits."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

SILENT_SECONDS = 4.0
LOOK_SECONDS = 0.5


def _to_stderr(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


# Where what is said within this thread goes; called by another thread.
notice: ContextVar[Callable[[str], None]] = ContextVar("notice", default=_to_stderr)


@dataclass(slots=True, eq=False)
class Wait:
    """A wait that goes on; `again` begins it anew, since something was heard."""

    sentence: str
    say: Callable[[str], None]
    due: float
    said: bool = False

    def again(self) -> None:
        """What is waited for has shown that it goes on."""
        self.due = time.monotonic() + SILENT_SECONDS


_waits: set[Wait] = set()
_lock = threading.Lock()
_watcher: threading.Thread | None = None


@contextmanager
def said_after(sentence: str) -> Iterator[Wait]:
    """Say the sentence if the block takes longer than SILENT_SECONDS."""
    wait = Wait(sentence, notice.get(), time.monotonic() + SILENT_SECONDS)
    _watch(wait)
    try:
        yield wait
    finally:
        with _lock:  # the watcher may be going through them
            _waits.discard(wait)


def _watch(wait: Wait) -> None:
    global _watcher
    with _lock:
        _waits.add(wait)
        if _watcher is None or not _watcher.is_alive():
            _watcher = threading.Thread(target=_look, name="silence", daemon=True)
            _watcher.start()


def _look() -> None:
    """One thread for all waits: most are over within milliseconds, and a timer each would take longer than they do."""
    while True:
        time.sleep(LOOK_SECONDS)
        with _lock:
            overdue = [wait for wait in _waits if not wait.said and wait.due <= time.monotonic()]
        for wait in overdue:
            if wait in _waits:
                wait.said = True
                wait.say(wait.sentence)
