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

import psutil
from filelock import FileLock, Timeout
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from pmb.errors import StoreUnavailable, WorkerBusy
from pmb.lab import queue
from pmb.lab.executors import Child, ChildDied
from pmb.lab.queue import Claim
from pmb.lab.store import Store, list_latencies, list_runs, save_latencies
from pmb.settings import Settings
from pmb.spec import Latency, Progress, RunResult, RunSpec

T = TypeVar("T")

POLL_SECONDS = 0.3  # how soon a new run is seen
BEAT_SECONDS = 2.0  # how often an idle worker says that it is alive
LISTEN_SECONDS = 0.25  # how soon a message of the child is seen
RENEW_SECONDS = 0.5  # how often progress goes to the store and cancellation is looked for
STORE_PATIENCE_SECONDS = 60.0  # how long a worker waits for a store that does not answer


def work(store: Store, settings: Settings, stop: threading.Event, once: bool = False) -> None:
    """Work the queue until `stop` is set; with `once`, until nothing waits. Raises WorkerBusy, StoreUnavailable."""
    with _only_worker(settings):
        worker = f"{socket.gethostname()}:{os.getpid()}"
        queue.release_lost(store, _dead_neighbours(store, worker))
        spare: Child | None = None
        beaten = float("-inf")
        try:
            while not stop.is_set():
                spare = spare or Child()
                if time.monotonic() - beaten >= BEAT_SECONDS:
                    _patiently(lambda: queue.beat(store, worker))
                    beaten = time.monotonic()
                claim = _patiently(lambda: _next_claim(store, worker))
                if claim is None and once:
                    return
                if claim is None:
                    stop.wait(POLL_SECONDS)
                    continue
                child, spare = (spare if spare.alive else _replace(spare)), None
                try:
                    spare = _run(store, settings, worker, claim, child, stop)
                finally:
                    child.end()
        finally:
            if spare:
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
    """Workers of this machine that hold runs and whose processes are gone: their leases need not run out first."""
    host = worker.rpartition(":")[0]
    holders = {str(row["worker"]).rpartition(":") for row in list_runs(store, "running")}
    return [f"{name}:{pid}" for name, _, pid in holders if name == host and not psutil.pid_exists(int(pid))]


def _next_claim(store: Store, worker: str) -> Claim | None:
    queue.release_lost(store)
    return queue.claim(store, worker)


def _replace(dead: Child) -> Child:
    dead.end()
    return Child()


def _run(
    store: Store, settings: Settings, worker: str, claim: Claim, child: Child, stop: threading.Event
) -> Child | None:
    """Do one run in the child and write down how it ended; returns the child for the next run, if it is started."""
    job = _patiently(lambda: _job(store, settings, claim.spec))
    child.send(job)
    spare: Child | None = None
    progress = Progress("starting")
    renewed = 0.0
    try:
        while True:
            if stop.is_set():
                _patiently(lambda: queue.give_back(store, claim.key, worker))
                return spare
            message = child.receive(LISTEN_SECONDS)
            if message is not None and "progress" in message:
                progress = Progress(**message["progress"])
                if progress.phase == "evaluating" and spare is None and job["timed_devices"]:
                    spare = Child()  # its imports cost the next run nothing; they must not disturb a timing
            elif message is not None:
                _write_down(store, worker, claim, message, child)
                return spare
            if time.monotonic() - renewed >= RENEW_SECONDS:
                renewed = time.monotonic()
                _patiently(lambda: queue.beat(store, worker))
                order = _patiently(partial(queue.renew, store, claim.key, worker, progress))
                if order == "cancel":
                    child.end()
                    _patiently(lambda: queue.end_cancelled(store, claim.key, worker))
                if order != "go on":
                    return spare
    except ChildDied as error:
        sentence = str(error)
        _patiently(lambda: queue.lose(store, claim.key, worker, sentence, child.log()))
        return spare
    except BaseException:
        if spare:
            spare.end()
        raise


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
    again = Retrying(
        retry=retry_if_exception_type(StoreUnavailable),
        wait=wait_fixed(1.0),
        stop=stop_after_delay(STORE_PATIENCE_SECONDS),
        reraise=True,
    )
    return again(act)
