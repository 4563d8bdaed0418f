"""How often a worker comes to the store, and how long it waits for one that does not answer."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_fixed

from pmb.errors import DiskFull, StoreUnavailable
from pmb.lab import queue
from pmb.lab.store import Store

T = TypeVar("T")

POLL_SECONDS = 0.1  # how soon a new run is seen
BEAT_SECONDS = 2.0  # how often a worker says that it is alive
RENEW_SECONDS = 0.5  # how often progress goes to the store and cancellation is looked for
# Where many runs and workers share a store, they come less often, so that it has about so much to do in a second.
RENEWALS_A_SECOND, MOST_RENEW_SECONDS = 50, 5.0  # a third of the lease
POLLS_A_SECOND, MOST_POLL_SECONDS = 100, 2.0
BEATS_A_SECOND, MOST_BEAT_SECONDS = 100, 5.0  # half of what it takes to be thought dead
STORE_PATIENCE_SECONDS = 60.0  # how long a worker waits for a store that does not answer
FULL_DISK_PATIENCE_SECONDS = 600.0  # and for somebody to free some space: computing again takes longer


def renew_seconds(running: int) -> float:
    """How often each of so many runs tells the store how far it is."""
    return min(MOST_RENEW_SECONDS, max(RENEW_SECONDS, running / RENEWALS_A_SECOND))


def poll_seconds(workers: int) -> float:
    """How often each of so many workers looks for a run when it has none."""
    return min(MOST_POLL_SECONDS, max(POLL_SECONDS, workers / POLLS_A_SECOND))


def beat_seconds(workers: int) -> float:
    """How often each of so many workers says that it is alive."""
    return min(MOST_BEAT_SECONDS, max(BEAT_SECONDS, workers / BEATS_A_SECOND))


class Heart:
    """Says that the worker is alive, looks for runs whose worker is not, and sees how many share the store."""

    def __init__(self, store: Store, worker: str) -> None:
        """The first beat is due at once."""
        self._store, self._worker = store, worker
        self._last = float("-inf")
        self.renew_seconds, self.poll_seconds = RENEW_SECONDS, POLL_SECONDS
        self._beat_seconds = BEAT_SECONDS

    def beat(self) -> None:
        """Beat when it is time."""
        if time.monotonic() - self._last >= self._beat_seconds:
            patiently(lambda: queue.beat(self._store, self._worker))
            patiently(lambda: queue.release_lost(self._store, living=self._worker))
            running, alive = patiently(lambda: queue.crowd(self._store))
            self.renew_seconds, self.poll_seconds = renew_seconds(running), poll_seconds(alive)
            self._beat_seconds = beat_seconds(alive)
            self._last = time.monotonic()


def patiently(act: Callable[[], T]) -> T:
    """Do something with the store, again and again while it is locked or its disk is full: a result is not lost."""
    again = Retrying(
        retry=retry_if_exception_type(StoreUnavailable),
        wait=wait_fixed(1.0),
        stop=_gives_up,
        before_sleep=_say_once,
        reraise=True,
    )
    return again(act)


def _gives_up(state: RetryCallState) -> bool:
    full = state.outcome is not None and isinstance(state.outcome.exception(), DiskFull)
    patience_seconds = FULL_DISK_PATIENCE_SECONDS if full else STORE_PATIENCE_SECONDS
    return (state.seconds_since_start or 0.0) >= patience_seconds


def _say_once(state: RetryCallState) -> None:
    if state.attempt_number == 1 and state.outcome is not None:
        print(f"{state.outcome.exception()} The worker waits.", file=sys.stderr, flush=True)
