"""The worker: takes runs from the queue and lets child processes do them, several at a time when several wait.

Run: python -m pmb worker [--once]
"""

from __future__ import annotations

import hashlib
import math
import os
import socket
import sys
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import psutil

from pmb.catalog.models import MODELS, BaseModel
from pmb.catalog.tasks import TASKS, Task
from pmb.errors import PmbError, RunFailed
from pmb.lab import disk, probes, queue, searches, zero_layers
from pmb.lab.executors import ChildDied, Executor, Handle, Message, NodeDied, Spares
from pmb.lab.holder import holding
from pmb.lab.pace import POLL_SECONDS, RENEW_SECONDS, Heart, patiently
from pmb.lab.plan import SCORE_SENTENCES, scores_identity
from pmb.lab.queue import Claim
from pmb.lab.sources import rows_of
from pmb.lab.store import (
    Store,
    get_layer_scores,
    list_latencies,
    list_runs,
    save_latencies,
    save_layer_scores,
    save_memory,
)
from pmb.settings import MOST_JOBS, Settings, cores
from pmb.spec import Latency, LayerProbe, Progress, RunResult, RunSpec, ZeroLayers

T = TypeVar("T")

LISTEN_SECONDS = 0.25  # how soon a message of the child is seen
GPU_SECONDS = 300.0  # after which a GPU that others held is asked for again, to time a depth
MOST_RUNS = 256  # threads, one a run; a cluster that does more at a time has several workers
MEMORY_A_JOB = 4 * 2**30  # bytes; a run of a base-size model on a CPU stays below
GPU_DRIVER = Path("/proc/driver/nvidia")  # asking torch would take seconds


def work(store: Store, settings: Settings, stop: threading.Event, once: bool = False) -> None:
    """Work the queue until `stop` is set; with `once`, until nothing waits. Raises WorkerBusy, StoreUnavailable.

    A run that is alone computes on all cores; runs that wait together share them, which takes less time in all, since
    matrix products on one thread wait for no other. Layers are measured when no run waits or goes on.
    """
    store.check_may_write()
    with holding(settings, store):
        here = _home_name(settings)
        worker = f"{here}:{os.getpid()}"
        queue.release_lost(store, _predecessors(store, here))
        spares = _open_executor(settings)
        heart = Heart(store, worker)
        stopwatch = _Stopwatch(store, settings, spares, heart, stop)
        active: set[Future[None]] = set()
        try:
            with ThreadPoolExecutor(MOST_RUNS, "run") as pool:
                try:
                    tidy(store, settings)
                    while not stop.is_set():
                        jobs = min(spares.most(), MOST_RUNS)
                        for future in [f for f in active if f.done()]:
                            active.remove(future)
                            future.result()
                            tidy(store, settings)
                        heart.beat()
                        if len(active) < jobs:
                            patiently(partial(searches.step_open, store, jobs))
                        if not active:
                            spares.keep_one()
                        waiting = patiently(lambda: queue.count_waiting(store)) if len(active) < jobs else 0
                        if not active and waiting != 1:
                            stopwatch.time_depths(patiently(lambda: queue.list_waiting(store)) if waiting else [])
                        claim = patiently(lambda: queue.claim(store, worker)) if waiting else None
                        if claim:
                            together = min(jobs, len(active) + waiting)
                            job = {"threads": spares.threads(together), "alone": together == 1}
                            active.add(pool.submit(_run, store, settings, worker, claim, job, spares, stopwatch, stop))
                        elif not active and not waiting and (spec := patiently(lambda: probes.take(store))):
                            active.add(pool.submit(_probe, store, settings, spec, spares, stop))
                        elif once and not active and not patiently(lambda: queue.count_waiting(store, later=True)):
                            return
                        else:
                            stop.wait(POLL_SECONDS if active else heart.poll_seconds)
                finally:
                    stop.set()  # whatever ended the loop, the runs are given back
            for future in active:
                future.result()
        finally:
            spares.end()
            queue.sign_off(store, worker)


def tidy(store: Store, settings: Settings) -> None:
    """Delete checkpoints of runs that have ended, and of caches what is over the limit."""
    live = patiently(lambda: queue.live_keys(store))
    try:
        disk.trim(settings, live)
    except OSError as error:  # deleting is never worth a run
        print(f"The caches cannot be tidied: {error}.", file=sys.stderr)


def _home_name(settings: Settings) -> str:
    """A name for this home on this machine: another machine may have its host name, paths and process numbers."""
    place = f"{uuid.getnode()} {settings.home}"
    return f"{socket.gethostname()}:{hashlib.sha256(place.encode()).hexdigest()[:8]}"


def _predecessors(store: Store, here: str) -> list[str]:
    """Workers of this home that hold runs: they are dead, since a home has one; their leases need not run out first."""
    holders = {str(row["worker"]) for row in list_runs(store, "running")}
    return [name for name in holders if name.rpartition(":")[0] == here]


def _open_executor(settings: Settings) -> Executor:
    if settings.executor == "ray":
        from pmb.lab.cluster import open_cluster  # for those who chose it

        return open_cluster(settings)
    warm_up = _warm_up(settings, next(iter(MODELS.values())), next(iter(TASKS.values())))
    return Spares(settings.jobs or _suitable_jobs(), warm_up)


def _suitable_jobs() -> int:
    """One run a core on a CPU, as far as memory goes; one at a time on a GPU, whose memory is not known here."""
    if GPU_DRIVER.exists():
        return 1
    return max(1, min(cores(), psutil.virtual_memory().total // MEMORY_A_JOB, MOST_JOBS))


def _run(
    store: Store,
    settings: Settings,
    worker: str,
    claim: Claim,
    job: dict[str, Any],
    spares: Executor,
    stopwatch: _Stopwatch,
    stop: threading.Event,
) -> None:
    """Do one run in a child and write down how it ended."""
    try:
        model, task = patiently(lambda: rows_of(store, settings, claim.spec))
    except PmbError as error:
        sentence = str(error)
        patiently(lambda: queue.fail(store, claim.key, worker, sentence, ""))
        return
    child = spares.take()
    spares.warm_up_for(_warm_up(settings, model, task))  # the next will be like this one
    job |= {"model": asdict(model), "task": asdict(task)}
    answer: Message | None = None  # a result whose timing goes on
    try:
        timed = patiently(lambda: timed_devices(store, claim.spec))[len(claim.spec.kept_layers)]
        job |= {"kind": "run", "spec": claim.spec.to_dict(), "assets": str(settings.assets), "timed_devices": timed}
        job["zero_layers"] = patiently(lambda: _zero_layers_missing(store, task, claim.spec))
        folder = disk.checkpoint_folder(settings, claim.key)
        child.send(job | {"checkpoints": str(folder), "checkpoint_seconds": settings.checkpoint_seconds})
        progress = Progress("starting")
        renewed = 0.0
        while True:
            if stop.is_set():
                _break_off(store, worker, claim, task, answer, child)
                return
            message = child.receive(LISTEN_SECONDS)
            if message is not None and "progress" in message:
                before, progress = progress, Progress(**message["progress"])
                if progress.phase != before.phase:
                    renewed = 0.0  # a new phase is told at once
                if progress.phase == "evaluating" and (timed or not job["alone"]):
                    spares.prepare()  # its imports cost the next run nothing; they must not disturb a timing
            elif message is not None and message.get("timing"):
                answer = message
            elif message is not None:
                _write_down(store, worker, claim, task, message, child)
                result = message.get("result")
                if result and not message["latencies"] and result["device"] not in timed:
                    stopwatch.note(claim.spec)
                return
            if time.monotonic() - renewed >= stopwatch.heart.renew_seconds:
                renewed = time.monotonic()
                order = patiently(partial(queue.renew, store, claim.key, worker, progress, claim.seconds))
                if order == "cancel":
                    child.end()
                    patiently(lambda: queue.end_cancelled(store, claim.key, worker))
                if order != "go on":
                    return
    except (ChildDied, NodeDied) as death:
        _break_off(store, worker, claim, task, answer, child, death)
    finally:
        child.end()


def _probe(store: Store, settings: Settings, spec: RunSpec, spares: Executor, stop: threading.Event) -> None:
    """Measure the layers of a fine-tuned whole model in a child and write down how it ended."""
    key = spec.key
    try:
        model, task = patiently(lambda: rows_of(store, settings, spec))
    except PmbError as error:
        sentence = str(error)
        patiently(lambda: probes.fail(store, key, sentence))
        return
    identity = scores_identity(spec)
    known = patiently(lambda: get_layer_scores(store, identity, spec.num_hidden_layers))
    job: dict[str, Any] = {"kind": "probe", "spec": spec.to_dict(), "model": asdict(model), "task": asdict(task)}
    job |= {"assets": str(settings.assets), "threads": spares.threads(1), "sentences": 0 if known else SCORE_SENTENCES}
    child = spares.take()
    try:
        child.send(job)
        progress = Progress("starting")
        renewed = 0.0
        while not stop.is_set():
            message = child.receive(LISTEN_SECONDS)
            if message is not None and "progress" in message:
                progress = Progress(**message["progress"])
            elif message is not None:
                _write_down_probe(store, spec, message)
                return
            if time.monotonic() - renewed >= RENEW_SECONDS:
                renewed = time.monotonic()
                if not patiently(partial(probes.renew, store, key, progress)):
                    return  # cancelled
        patiently(lambda: probes.give_back(store, key))
    except ChildDied as error:
        sentence = str(error)
        patiently(lambda: probes.fail(store, key, sentence))
    except NodeDied:
        patiently(lambda: probes.give_back(store, key))
    finally:
        child.end()


def _write_down_probe(store: Store, spec: RunSpec, message: Message) -> None:
    if "error" in message:
        patiently(lambda: probes.fail(store, spec.key, message["error"]))
        return
    if message["scores"]:
        patiently(lambda: save_layer_scores(store, scores_identity(spec), message["scores"]))
    patiently(lambda: probes.finish(store, spec.key, LayerProbe.from_dict(message["probe"])))


def _warm_up(settings: Settings, model: BaseModel, task: Task) -> Message:
    return {"kind": "warm up", "model": asdict(model), "task": asdict(task), "assets": str(settings.assets)}


def _zero_layers_missing(store: Store, task: Task, spec: RunSpec) -> bool:
    """Whether a bag of words has not been fitted on the train items of this run yet."""
    return zero_layers.known(store, task, spec.recipe, spec.seed) is None


def timed_devices(store: Store, spec: RunSpec) -> dict[int, list[str]]:
    """The devices on which each depth of this run's base model has been timed."""
    devices: dict[int, list[str]] = {depth: [] for depth in range(1, spec.num_hidden_layers + 1)}
    for row in list_latencies(store, spec.model, spec.model_revision):
        if row["device"] not in devices.get(row["depth"], [row["device"]]):  # a depth that the model has
            devices[row["depth"]].append(row["device"])
    return devices


class _Stopwatch:
    """Times the depths that runs at a time left untimed, when nothing else computes.

    A run that is alone times its depth itself. Of several that wait together the depths are timed before the first
    starts; what is left is timed when the queue is empty.
    """

    def __init__(self, store: Store, settings: Settings, spares: Executor, heart: Heart, stop: threading.Event) -> None:
        """Nothing is known to be untimed yet."""
        self._store, self._settings, self._spares, self.heart, self._stop = store, settings, spares, heart, stop
        self._noted: list[RunSpec] = []
        self._rests_until: dict[tuple[str, int], float] = {}  # (model, depth): inf where timed, or not possible

    def note(self, spec: RunSpec) -> None:
        """Remember that the depth of this run is not timed yet."""
        self._noted.append(spec)

    def time_depths(self, waiting: Sequence[RunSpec]) -> None:
        """Time the untimed depths of the waiting runs, or of those noted when none waits.

        What cannot be timed stays so: the run itself will say what is wrong. What is not, since others hold the GPU,
        rests before it is tried again.
        """
        specs = list(waiting) if waiting else [self._noted.pop() for _ in range(len(self._noted))]
        of_model: dict[str, dict[int, RunSpec]] = defaultdict(dict)
        for spec in specs:
            depth = len(spec.kept_layers)
            rests_until = self._rests_until.get((spec.model, depth), 0.0)
            if depth < spec.num_hidden_layers and rests_until <= time.monotonic():
                of_model[spec.model][depth] = spec
            elif rests_until < math.inf and not waiting:
                self._noted.append(spec)
        for of_depth in of_model.values():
            try:
                self._time(of_depth)
            except (ChildDied, PmbError):
                continue

    def _time(self, of_depth: Mapping[int, RunSpec]) -> None:
        spare = self._spares.keep_one()
        while not spare.ready(LISTEN_SECONDS):
            if not self._going_on():
                return
        spec = next(iter(of_depth.values()))
        self._rest(of_depth.values(), math.inf)
        timed = patiently(lambda: timed_devices(self._store, spec))
        untimed = sorted(depth for depth in of_depth if spare.device not in timed[depth])
        if not untimed:
            return
        model, task = rows_of(self._store, self._settings, spec)
        job: Message = {"kind": "latency", "model": asdict(model), "task": asdict(task), "depths": untimed}
        job |= {"device": spare.device, "assets": str(self._settings.assets)}
        child = self._spares.take()
        try:
            child.send(job)
            while (message := child.receive(LISTEN_SECONDS)) is None:
                if not self._going_on():
                    return
        finally:
            child.end()
        latencies = [Latency(**row) for row in message.get("latencies", [])]
        patiently(partial(save_latencies, self._store, spec, latencies))
        if not latencies and "error" not in message:
            self._rest(of_depth.values(), time.monotonic() + GPU_SECONDS)
            self._noted += of_depth.values()

    def _rest(self, specs: Iterable[RunSpec], until: float) -> None:
        self._rests_until |= {(spec.model, len(spec.kept_layers)): until for spec in specs}

    def _going_on(self) -> bool:
        self.heart.beat()
        return not self._stop.is_set()


def _break_off(
    store: Store,
    worker: str,
    claim: Claim,
    task: Task,
    answer: Message | None,
    child: Handle,
    death: RunFailed | None = None,
) -> None:
    """A run is broken off, by its worker, its child or its node: what is measured is kept, else it is tried again."""
    if answer is not None:
        _write_down(store, worker, claim, task, answer, child)
    elif isinstance(death, NodeDied):
        patiently(lambda: queue.release(store, claim.key, worker))
    elif death is not None:
        patiently(lambda: queue.lose(store, claim.key, worker, str(death), child.log()))
    else:
        patiently(lambda: queue.give_back(store, claim.key, worker))


def _write_down(store: Store, worker: str, claim: Claim, task: Task, message: Message, child: Handle) -> None:
    if "error" in message:
        patiently(lambda: queue.fail(store, claim.key, worker, message["error"], child.log(), claim.seconds))
        return
    latencies = [Latency(**latency) for latency in message["latencies"]]
    result = RunResult.from_dict(message["result"])
    patiently(lambda: save_latencies(store, claim.spec, latencies))
    patiently(lambda: save_memory(store, claim.key, result))
    if message.get("zero_layers"):
        measured, spec = ZeroLayers.from_dict(message["zero_layers"]), claim.spec
        patiently(lambda: zero_layers.save(store, task, spec.recipe, spec.seed, measured))
    patiently(lambda: queue.finish(store, claim.key, worker, result, claim.seconds))
