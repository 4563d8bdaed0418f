"""The worker: takes runs from the queue, one at a time, and lets a child process do them.

Run: python -m pmb worker [--once]
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from pmb.errors import RunFailed, StoreUnavailable, WorkerBusy
from pmb.lab import queue
from pmb.lab.executors import Child
from pmb.lab.queue import Claim
from pmb.lab.store import Store, list_latencies, list_runs, save_latencies
from pmb.settings import Settings
from pmb.spec import Latency, Progress, RunResult, RunSpec

T = TypeVar("T")

POLL_SECONDS = 0.3  # how soon a new run is seen
LISTEN_SECONDS = 0.25  # how soon a message of the child is seen
RENEW_SECONDS = 0.5  # how often progress goes to the store and cancellation is looked for
STORE_PATIENCE_SECONDS = 60.0  # how long a worker waits for a store that does not answer


def work(store: Store, settings: Settings, stop: threading.Event, once: bool = False) -> None:
    """Work the queue until `stop` is set; with `once`, until nothing waits. Raises WorkerBusy, StoreUnavailable."""
    with _only_worker(settings):
        worker = f"{socket.gethostname()}:{os.getpid()}"
        queue.beat(store, worker)
        queue.release_lost(store, _dead_neighbours(store, worker))
        spare = Child()
        try:
            while not stop.is_set():
                claim = _patiently(lambda: _next_claim(store, worker))
                if claim is None and once:
                    return
                if claim is None:
                    stop.wait(POLL_SECONDS)
                    continue
                child = spare if spare.alive else _replace(spare)
                try:
                    spare = _run(store, settings, worker, claim, child, stop)
                finally:
                    child.end()
        finally:
            spare.end()
            queue.sign_off(store, worker)


def worker_is_here(settings: Settings) -> bool:
    """Whether a worker on this machine works this PMB_HOME."""
    try:
        with FileLock(settings.home / "worker.lock", timeout=0):
            return False
    except Timeout:
        return True


@contextmanager
def _only_worker(settings: Settings) -> Iterator[None]:
    try:
        with FileLock(settings.home / "worker.lock", timeout=0):
            yield
    except Timeout as error:
        raise WorkerBusy(f"A worker already works {settings.home}; one is enough.") from error


def _dead_neighbours(store: Store, worker: str) -> list[str]:
    """Workers of this machine that still hold runs: this one has the lock, so they are dead."""
    host = worker.rpartition(":")[0]
    holders = {row["worker"] for row in list_runs(store, "running")}
    return [name for name in holders if name and name != worker and name.rpartition(":")[0] == host]


def _next_claim(store: Store, worker: str) -> Claim | None:
    queue.beat(store, worker)
    queue.release_lost(store)
    return queue.claim(store, worker)


def _replace(dead: Child) -> Child:
    dead.end()
    return Child()


def _run(store: Store, settings: Settings, worker: str, claim: Claim, child: Child, stop: threading.Event) -> Child:
    """Do one run in the child and write down how it ended; returns the child for the next run."""
    spare: Child | None = None
    progress = Progress("starting")
    renewed = 0.0
    child.send(_job(store, settings, claim.spec))
    try:
        while True:
            if stop.is_set():
                _patiently(lambda: queue.give_back(store, claim.key, worker))
                break
            message = child.receive(LISTEN_SECONDS)
            if message is not None and "progress" in message:
                progress = Progress(**message["progress"])
                if progress.phase == "evaluating" and spare is None:
                    spare = Child()  # its imports cost the next run nothing
            elif message is not None:
                _write_down(store, worker, claim, message, child)
                break
            if time.monotonic() - renewed >= RENEW_SECONDS:
                renewed = time.monotonic()
                queue.beat(store, worker)
                order = _patiently(partial(queue.renew, store, claim.key, worker, progress))
                if order == "cancel":
                    child.end()
                    _patiently(lambda: queue.end_cancelled(store, claim.key, worker))
                if order != "go on":
                    break
    except RunFailed as error:
        sentence = str(error)
        _patiently(lambda: queue.fail(store, claim.key, worker, sentence, child.log()))
    return spare or Child()


def _job(store: Store, settings: Settings, spec: RunSpec) -> dict[str, Any]:
    rows = list_latencies(store, spec.model, spec.model_revision)
    timed = sorted({row["device"] for row in rows if row["depth"] == len(spec.kept_layers)})
    return {"kind": "run", "spec": spec.to_dict(), "assets": str(settings.assets), "timed_devices": timed}


def _write_down(store: Store, worker: str, claim: Claim, message: dict[str, Any], child: Child) -> None:
    if "error" in message:
        _patiently(lambda: queue.fail(store, claim.key, worker, message["error"], child.log()))
        return
    latencies = [Latency(**latency) for latency in message["latencies"]]
    result = RunResult.from_dict(message["result"])
    _patiently(lambda: save_latencies(store, claim.spec, latencies))
    _patiently(lambda: queue.finish(store, claim.key, worker, result))


def _patiently(act: Callable[[], T]) -> T:
    """Do something with the store, again and again while it is locked or its disk is full: a result is not lost."""
    give_up = time.monotonic() + STORE_PATIENCE_SECONDS
    while True:
        try:
            return act()
        except StoreUnavailable:
            if time.monotonic() > give_up:
                raise
            time.sleep(1.0)
