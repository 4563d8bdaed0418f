"""Does the queue hold when fifty clients and eight workers use it at a time, and how many runs a second does it give?

Run: python -m benchmarks.queue_load [--write]   (with nothing else running; some minutes)
Eight processes work as a worker does, with an engine that sleeps some milliseconds; fifty clients, threads of five
processes, submit runs, some of them the same as their neighbour's, cancel some, ask again for some of the cancelled,
and end. Then it is counted: every run that was asked for has ended once, in the state that its client left it in, and
none waited while others that came later were taken. SQLite, and PostgreSQL where its server is installed.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import click

from benchmarks.results import publish
from pmb.catalog.models import MODELS
from pmb.catalog.tasks import TASKS
from pmb.lab import queue
from pmb.lab.plan import plan_whole, spec_of
from pmb.lab.store import Row, Store, list_runs, open_store
from pmb.settings import Settings
from pmb.spec import Progress, RunResult, RunSpec, Score
from tests.postgres import SAFE, programs, running

CLIENT_PROCESSES, CLIENTS_A_PROCESS, WORKERS = 5, 10, 8
BATCH = 10  # runs that a client submits at a time
CANCEL_EVERY = 10  # of its runs a client cancels one in so many, and asks again for every second of those
WORK_SECONDS = (0.001, 0.005)  # of the engine that is none
GIVE_UP_SECONDS = 1200.0
LOOK_SECONDS = 1.0  # between two beats of a worker that has nothing to do
RESULT = RunResult(
    metric="accuracy",
    score=0.8,
    scores=(Score("accuracy", 0.8, 0.78, 0.82),),
    predictions=(0, 1) * 50,
    parameters=12_000_000,
    whole_model_parameters=22_000_000,
    megabytes=48.0,
    whole_model_megabytes=88.0,
    train_seconds=0.0,
    total_seconds=0.0,
    losses=(0.7,),
    fast=True,
    device="none",
    machine="none",
    versions={},
)


@dataclass(frozen=True, slots=True)
class Load:
    """How much is done at a time."""

    runs: int
    client_processes: int = CLIENT_PROCESSES
    clients_a_process: int = CLIENTS_A_PROCESS
    workers: int = WORKERS

    @property
    def clients(self) -> int:
        """All of them."""
        return self.client_processes * self.clients_a_process


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a load: faults, of which there should be none, and times in seconds."""

    faults: list[str]
    rows: list[Row]
    seconds: float
    submits: list[float]
    claims: list[float]

    @property
    def claims_a_second(self) -> float:
        """Runs that workers took, by the time from the first to the last of them."""
        return len(self.claims) / self.seconds

    @property
    def waits(self) -> list[float]:
        """How long each run that was done waited."""
        return [row["started_at"] - row["queued_at"] for row in self.rows if row["state"] == "done"]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client did: the keys that it asked for, those that it left cancelled, and how long its submits took."""

    keys: list[str]
    cancelled: list[str]
    submits: list[float]


def spec_number(number: int) -> RunSpec:
    """A run like no other."""
    return spec_of(plan_whole(MODELS["minilm-l6"]), TASKS["rotten-tomatoes"], "quick", number)


def client(store: Store, load: Load, number: int) -> Asked:
    """Submit this client's share in batches, each with a run of the next client's; cancel and ask again; wait."""
    rng = random.Random(number)
    share = range(number, load.runs, load.clients)
    keys: list[str] = []
    cancelled: list[str] = []
    submits = []
    for first in range(0, len(share), BATCH):
        numbers = [*share[first : first + BATCH], (share[first] + 1) % load.runs]
        specs = [spec_number(each) for each in numbers]
        start = time.perf_counter()
        queue.submit(store, specs)
        submits.append(time.perf_counter() - start)
        own = [spec.key for spec in specs[:-1]]
        keys += own
        chosen = [key for key in own if rng.random() < 1 / CANCEL_EVERY]
        queue.cancel(store, chosen)
        again = chosen[::2]
        queue.retry(store, again)
        cancelled += [key for key in chosen if key not in again]
        time.sleep(rng.random() * 0.02)
    return Asked(keys, cancelled, submits)


def clients(settings: Settings, load: Load, process: int) -> list[Asked]:
    """The clients of one process: threads that share its store, as the sessions of a page server do."""
    store = open_store(settings)
    numbers = range(process * load.clients_a_process, (process + 1) * load.clients_a_process)
    with ThreadPoolExecutor(load.clients_a_process) as pool:
        asked = list(pool.map(partial(client, store, load), numbers))
    store.close()
    return asked


def work(settings: Settings, runs: int, number: int) -> list[tuple[str, float, bool]]:
    """Work the queue until all runs have ended: for each claim its key, when it was, and whether it was finished."""
    store, rng, worker = open_store(settings), random.Random(number), f"worker:{number}"
    done: list[tuple[str, float, bool]] = []
    give_up = time.monotonic() + GIVE_UP_SECONDS
    looked = 0.0
    while time.monotonic() < give_up:
        claim = queue.claim(store, worker)
        if claim is None:
            if time.monotonic() - looked > LOOK_SECONDS:
                looked = time.monotonic()
                queue.beat(store, worker)
                queue.release_lost(store)
                states = Counter(row["state"] for row in list_runs(store))
                if states.total() == runs and not states["queued"] and not states["running"]:
                    break
            time.sleep(0.02)
            continue
        at = time.time()
        time.sleep(rng.uniform(*WORK_SECONDS))
        if queue.renew(store, claim.key, worker, Progress("training", 1, 1)) == "cancel":
            queue.end_cancelled(store, claim.key, worker)
            done.append((claim.key, at, False))
        else:
            done.append((claim.key, at, queue.finish(store, claim.key, worker, RESULT)))
    store.close()
    return done


def put_under_load(settings: Settings, load: Load, pool: Executor) -> Outcome:
    """Clients and workers at a time; what was lost, doubled, left over or starved is a fault."""
    open_store(settings).close()
    working = [pool.submit(work, settings, load.runs, number) for number in range(load.workers)]
    asking = [pool.submit(clients, settings, load, process) for process in range(load.client_processes)]
    asked = [one for result in asking for one in result.result(GIVE_UP_SECONDS)]
    claims = [claim for result in working for claim in result.result(GIVE_UP_SECONDS)]
    store = open_store(settings)
    rows = list_runs(store)
    store.close()
    times = sorted(at for _, at, _ in claims)
    seconds = max(times[-1] - times[0], 1e-9)
    submits = [each for one in asked for each in one.submits]
    return Outcome(faults_of(rows, asked, claims, load), rows, seconds, submits, times)


def faults_of(
    rows: Sequence[Row], asked: Sequence[Asked], claims: Sequence[tuple[str, float, bool]], load: Load
) -> list[str]:
    """What is not as it should be, a sentence each."""
    state = {row["key"]: row["state"] for row in rows}
    keys = {key for one in asked for key in one.keys}
    may_be_cancelled = {key for one in asked for key in one.cancelled}
    finished = Counter(key for key, _, was_finished in claims if was_finished)
    faults = [f"{key[:12]} was asked for and is {state.get(key)}" for key in keys if state.get(key) not in queue.ENDED]
    faults += [f"{key[:12]} was finished {count} times" for key, count in finished.items() if count > 1]
    faults += [
        f"{key[:12]} is done and nobody finished it" for key in state if state[key] == "done" and key not in finished
    ]
    faults += [
        f"{key[:12]} is cancelled and nobody left it so"
        for key in state
        if state[key] == "cancelled" and key not in may_be_cancelled
    ]
    faults += [f"{row['key'][:12]} was taken {row['attempts']} times" for row in rows if row["attempts"] > 1]
    faults += [] if len(rows) == load.runs else [f"{len(rows)} runs are there, {load.runs} were asked for"]
    return faults + overtaken(rows, load.workers)


def overtaken(rows: Sequence[Row], workers: int) -> list[str]:
    """Runs that waited while more than a few that came later were taken: none may starve."""
    done = sorted((row for row in rows if row["state"] == "done"), key=lambda row: row["started_at"])
    faults = []
    waiting_since = [row["queued_at"] for row in done]
    for place, row in enumerate(done):
        # As many as were committed between the look at the clock and the commit of a submit may come first.
        later = sum(other > row["queued_at"] + 1.0 for other in waiting_since[:place])
        if later > workers:
            faults.append(f"{row['key'][:12]} was overtaken by {later} runs that came more than a second later")
    return faults


def lines(name: str, load: Load, outcome: Outcome) -> list[str]:
    """A row of the table."""
    waits, submits = sorted(outcome.waits), sorted(outcome.submits)
    states = Counter(row["state"] for row in outcome.rows)
    return [
        f"| {name} | {load.runs:,} | {states['done']:,} + {states['cancelled']:,} | {len(outcome.faults)} "
        f"| {outcome.claims_a_second:.0f} | {1000 * statistics.median(submits):.0f} / {1000 * submits[-1]:.0f} "
        f"| {statistics.median(waits):.1f} / {waits[-1]:.1f} |"
    ]


@contextmanager
def databases() -> Iterator[dict[str, Settings]]:
    """The settings by the name of the database; PostgreSQL with all that makes it safe switched on."""
    with tempfile.TemporaryDirectory() as folder:
        nothing = Path(folder) / "nothing-shipped"
        sqlite = Settings(Path(folder) / "sqlite", "", "local", nothing, None)
        found = programs()
        if found is None:
            yield {"SQLite": sqlite}
            return
        with running(found, SAFE) as server:
            url = server.url(server.create())
            yield {"SQLite": sqlite, "PostgreSQL": Settings(Path(folder) / "home", url, "local", nothing, None)}


@click.command()
@click.option("--write", is_flag=True, help="Put the section into RESULTS.md.")
@click.option("--runs", default=5000, show_default=True)
def main(write: bool, runs: int) -> None:
    """Measure both databases."""
    load = Load(runs)
    table = [
        f"`python -m benchmarks.queue_load`: {load.clients} clients, {load.workers} workers, an engine of "
        f"{1000 * WORK_SECONDS[0]:.0f} to {1000 * WORK_SECONDS[1]:.0f} ms. A fault is a run that is lost, doubled, "
        "left over or overtaken.",
        "",
        "| store | runs | done + cancelled | faults | claims a second | submit of 11, median / longest, ms "
        "| wait, median / longest, s |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    faults = []
    with databases() as found:
        for name, settings in found.items():
            with ProcessPoolExecutor(load.client_processes + load.workers, get_context("spawn")) as pool:
                outcome = put_under_load(settings, load, pool)
            table += lines(name, load, outcome)
            faults += outcome.faults
    publish("The queue under load", table, write)
    if faults:
        raise click.ClickException(f"{len(faults)} faults, such as: {faults[0]}")


if __name__ == "__main__":
    main()
