"""How far do queue, store and pages go? Real statements are timed; a simulation puts a thousand workers before them.

Run: nice python -m benchmarks.scale [--sizes 1000,10000,100000,1000000] [--write]   (GBs in a temporary folder)
Stored runs are made up by SQL, as large as real ones: predictions for 2,000 dev sentences. PMB_DATABASE_URL, where it
is set, must name an EMPTY PostgreSQL database: the statements of the queue are timed there too.
"""

from __future__ import annotations

import heapq
import os
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
from sqlalchemy import Integer, String, case, cast, func, insert, literal, select, text, update

from benchmarks.queue_load import RESULT
from benchmarks.results import publish
from pmb.catalog.models import MODELS
from pmb.catalog.recipes import RECIPES
from pmb.catalog.tasks import TASKS
from pmb.lab import queue
from pmb.lab.pace import BEAT_SECONDS, POLL_SECONDS, RENEW_SECONDS, poll_seconds, renew_seconds
from pmb.lab.results import finished_runs
from pmb.lab.schema import runs
from pmb.lab.store import Store, change_mark, list_runs, open_store
from pmb.settings import Settings, from_environment
from pmb.spec import Progress, RunSpec

MODEL, TASK, RECIPE = MODELS["minilm-l6"], TASKS["rotten-tomatoes"], RECIPES["standard"]
CONFIGURATIONS = 200  # 20 models by 10 tasks: a page shows one of them
TIMES = 60  # how often a quick statement is timed
SLOW_SECONDS = 0.5  # what takes longer is timed thrice
RUN_SECONDS = 60.0  # of a simulated run
WORKERS = (10, 30, 100, 300, 1000)
SIMULATED_SECONDS = 120.0
MOST_IN_MEMORY = 10_000  # more rows at once are not brought into Python
INDICES = {"runs_by_end": "state, finished_at", "runs_by_subject": "model, task, state"}


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds that the store is busy with one statement."""

    poll: float
    claim: float
    renew: float
    finish: float
    beat: float


@dataclass(frozen=True, slots=True)
class Habits:
    """How often workers come: of how many runs and workers, in seconds."""

    renew_seconds: Callable[[int], float]
    poll_seconds: Callable[[int], float]


def one_pace(_: int) -> float:
    """Renewals as often as those of a single run."""
    return RENEW_SECONDS


def one_poll(_: int) -> float:
    """Polls as often as those of a single worker."""
    return POLL_SECONDS


def run_spec(seed: int) -> RunSpec:
    """A run of the embedded model; as many as there are seeds."""
    return RunSpec(MODEL.id, MODEL.revision, TASK.id, TASK.revision, 6, (0, 1, 2), RECIPE, seed)


# A result as large as a real one: with as many answers as Rotten Tomatoes has dev sentences.
FULL_RESULT = replace(RESULT, predictions=(0, 1) * 1000, losses=(0.7, 0.5, 0.4), versions={"torch": "made up"})


@contextmanager
def opened(url: str = "") -> Iterator[tuple[Store, Path]]:
    """An empty store of its own."""
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        settings = Settings(Path(folder), url, "local", Path(folder) / "none", None)
        with closing(open_store(settings)) as store:
            yield store, Path(folder)


def median_seconds(act: Callable[[], object]) -> float:
    """The median time of a statement; few repetitions of a slow one."""
    taken: list[float] = []
    while len(taken) < TIMES:
        began = time.perf_counter()
        act()
        taken.append(time.perf_counter() - began)
        if len(taken) >= 3 and taken[-1] > SLOW_SECONDS:
            break
    return statistics.median(taken)


def queue_costs(store: Store, first_seed: int = 0) -> Costs:
    """Time the statements of the queue, one client at a time."""
    queue.submit(store, [run_spec(first_seed + i) for i in range(2 * TIMES)])
    queue.beat(store, "host:1")
    claims: list[str] = []

    def claim() -> None:
        claimed = queue.claim(store, "host:1")
        assert claimed
        claims.append(claimed.key)

    def beat() -> None:
        queue.beat(store, "host:1")
        queue.release_lost(store, living="host:1")
        queue.crowd(store)

    poll = median_seconds(lambda: queue.count_waiting(store))
    claim_seconds = median_seconds(claim)
    renew = median_seconds(lambda: queue.renew(store, claims[0], "host:1", Progress("training")))
    beat_seconds = median_seconds(beat)
    held, result = iter(claims), FULL_RESULT
    finish = median_seconds(lambda: queue.finish(store, next(held), "host:1", result))
    queue.cancel(store, [run_spec(first_seed + i).key for i in range(2 * TIMES)])
    return Costs(poll, claim_seconds, renew, finish, beat_seconds)


def renewals_a_second(store: Store, clients: int, seconds: float = 3.0) -> float:
    """How many leases so many threads of one worker renew in a second."""
    queue.submit(store, [run_spec(10**7 + i) for i in range(clients)])
    held = [queue.claim(store, "host:2") for _ in range(clients)]
    counts, stop = [0] * clients, threading.Event()

    def renew(i: int) -> None:
        claimed = held[i]
        assert claimed
        while not stop.is_set():
            queue.renew(store, claimed.key, "host:2", Progress("training"))
            counts[i] += 1

    threads = [threading.Thread(target=renew, args=(i,)) for i in range(clients)]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds


def grow(store: Store, size: int) -> None:
    """Make up finished runs until there are so many, as copies of one, spread over models and tasks."""
    with store.connect() as connection:
        there = connection.execute(select(func.count()).select_from(runs)).scalar_one()
    if there == 0:
        key = queue.submit(store, [run_spec(10**6)])[0].key
        queue.claim(store, "host:3")
        queue.finish(store, key, "host:3", FULL_RESULT)
        there = 1
    numbers = select(literal(there).label("i")).cte("numbers", recursive=True)
    numbers = numbers.union_all(select(numbers.c.i + 1).where(numbers.c.i + 1 < size))
    i, model, task = numbers.c.i, numbers.c.i % CONFIGURATIONS / 10, numbers.c.i % 10
    changed: dict[str, Any] = {
        "key": func.lower(func.hex(func.randomblob(32))),
        "model": case((model < 1, runs.c.model), else_="model-" + cast(cast(model, Integer), String)),
        "task": case((task == 0, runs.c.task), else_="task-" + cast(task, String)),
        "seed": i,
        "queued_at": runs.c.queued_at + i,
        "finished_at": runs.c.finished_at + i,
    }
    rows = select(*(changed.get(column.name, column) for column in runs.c)).join_from(
        runs, numbers, runs.c.seed == 10**6
    )
    with store.connect() as connection:
        connection.execute(insert(runs).from_select([column.name for column in runs.c], rows))


def index(store: Store, wanted: bool) -> None:
    """Have the indices that pages need, or not."""
    for name, columns in INDICES.items():
        with store.connect() as connection:
            connection.execute(text(f"DROP INDEX IF EXISTS {name}"))
            if wanted:
                connection.execute(text(f"CREATE INDEX {name} ON runs ({columns})"))
    with store.connect() as connection:
        connection.execute(text("ANALYZE"))
    with store.connect() as connection:
        connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))


def growth_line(store: Store, folder: Path, size: int, indexed: bool = True) -> str:
    """One row of the table of growth."""
    grow(store, size)
    index(store, indexed)
    size_on_disk = sum(path.stat().st_size for path in folder.glob("lab.sqlite*"))
    waiting = [run_spec(10**8 + 2 * size + 500 * indexed + i) for i in range(100)]
    queue.submit(store, waiting)
    times = [
        median_seconds(lambda: change_mark(store)),
        median_seconds(lambda: finished_runs(store, MODEL, TASK, RECIPE.name)),
        median_seconds(lambda: list_runs(store, "running", "queued")),
        median_seconds(lambda: queue.count_waiting(store)),
    ]
    costs = queue_costs(store, 10**9 + 2 * size + 500 * indexed)
    queue.cancel(store, [spec.key for spec in waiting])
    everything = f"{median_seconds(lambda: list_runs(store)):.2f} s" if size <= MOST_IN_MEMORY else "not asked"
    click.echo(f"{size:,} runs measured", err=True)
    label = f"{size:,}{'' if indexed else ', without the indices'}"
    cells = [label, f"{size_on_disk / size / 1000:.1f} kB", *(f"{1000 * t:.2f}" for t in times)]
    return "| " + " | ".join([*cells, f"{1000 * costs.claim:.2f}", f"{1000 * costs.renew:.2f}", everything]) + " |"


@dataclass(frozen=True, slots=True)
class Load:
    """What a simulation found."""

    utilisation: float
    median_wait: float
    late_renewal: float  # the 99.9th percentile of waits before a renewal; beyond the lease, runs are lost


def simulate(workers: int, busy_share: float, costs: Costs, habits: Habits, servers: int, seed: int = 0) -> Load:
    """Workers before a store that does `servers` statements at a time, first come first served.

    A busy worker renews, and every RUN_SECONDS finishes and claims; an idle one polls; all beat. A worker waits for
    the answer before its next statement of the kind is due, as the real one does.
    """
    rng = random.Random(seed)
    busy = round(workers * busy_share)
    kinds = {
        "renew": (busy, habits.renew_seconds(busy), costs.renew),
        "end": (busy, RUN_SECONDS, costs.finish + costs.claim),
        "poll": (workers - busy, habits.poll_seconds(workers), costs.poll),
        "beat": (workers, BEAT_SECONDS, costs.beat),
    }
    due = [(rng.random() * every, kind) for kind, (count, every, _) in kinds.items() for _ in range(count)]
    heapq.heapify(due)
    free = [0.0] * servers
    work, waits, renewals = 0.0, [], []
    while due and due[0][0] < SIMULATED_SECONDS:
        asked, kind = heapq.heappop(due)
        begun = max(asked, heapq.heappop(free))
        ended = begun + rng.expovariate(1 / kinds[kind][2])
        heapq.heappush(free, ended)
        heapq.heappush(due, (ended + kinds[kind][1], kind))
        work += min(ended, SIMULATED_SECONDS) - min(begun, SIMULATED_SECONDS)
        waits.append(begun - asked)
        if kind == "renew":
            renewals.append(begun - asked)
    late = sorted(renewals)[int(len(renewals) * 0.999)] if renewals else 0.0
    return Load(work / SIMULATED_SECONDS / servers, statistics.median(waits), late)


def simulation_lines(name: str, costs: Costs, servers: int) -> Iterator[str]:
    """How the store fares with more and more workers, busy and idle, with the habits of now and with others."""
    ways = {
        f"each polls every {POLL_SECONDS:g} s and renews every {RENEW_SECONDS:g} s": Habits(one_pace, one_poll),
        "as the worker does: the more, the less often": Habits(renew_seconds, poll_seconds),
    }
    for way, habits in ways.items():
        for share, state in ((1.0, "all busy"), (0.0, "all idle")):
            cells = []
            for workers in WORKERS:
                load = simulate(workers, share, costs, habits, servers)
                late = ", runs lost" if load.late_renewal > queue.LEASE_SECONDS else ""
                cells.append(f"{100 * load.utilisation:.0f} %, {1000 * load.median_wait:.0f} ms{late}")
            yield f"| {name} | {way} | {state} | {' | '.join(cells)} |"


def costs_line(name: str, costs: Costs, renewals: float) -> str:
    """One row of the table of statements."""
    cells = (costs.poll, costs.claim, costs.renew, costs.finish, costs.beat)
    return f"| {name} | " + " | ".join(f"{1000 * cost:.2f}" for cost in cells) + f" | {renewals:.0f} |"


@click.command()
@click.option("--sizes", default="1000,10000,100000,1000000", show_default=True)
@click.option("--beside-other-work", is_flag=True, help="Say so with the numbers.")
@click.option("--write", is_flag=True, help="Put the tables into RESULTS.md.")
def main(sizes: str, beside_other_work: bool, write: bool) -> None:
    """Time the statements, grow the store, simulate the workers."""
    url = from_environment().database_url
    measured: dict[str, tuple[Costs, float]] = {}
    for name, where in (("SQLite", ""), *((("PostgreSQL", url),) if url else ())):
        with opened(where) as (store, _):
            measured[name] = (queue_costs(store), renewals_a_second(store, 8))
            with store.connect() as connection:
                connection.execute(update(runs).values(state="cancelled"))
    lines = [
        f"`nice python -m benchmarks.scale --sizes {sizes} --write`: milliseconds a statement, "
        "median, one client, on an empty store.",
        *(["Taken beside other work on the same cores: to be measured again."] if beside_other_work else []),
        "",
        "| store | poll | claim | renew | finish | beat | renewals a second, 8 threads |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *(costs_line(name, *numbers) for name, numbers in measured.items()),
        "",
        f"Stored runs with 2,000 predictions each, {CONFIGURATIONS} pairs of model and task, 100 waiting; "
        "milliseconds, SQLite.",
        "",
        "| runs | size of one | change mark | runs of a page | live runs | poll | claim | renew | all runs |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    with opened() as (store, folder):
        most = sizes.split(",")[-1]
        lines += [growth_line(store, folder, int(size)) for size in sizes.split(",")]
        lines.append(growth_line(store, folder, int(most), indexed=False))
    lines += [
        "",
        f"Simulated: how busy the store is, and the median wait for it, by workers. Runs take {RUN_SECONDS:.0f} s. "
        "SQLite does one statement at a time"
        + (f", PostgreSQL is taken to do {os.cpu_count()}." if "PostgreSQL" in measured else "."),
        "",
        "| store | habits | workers | " + " | ".join(str(workers) for workers in WORKERS) + " |",
        "| --- | --- | --- |" + " --- |" * len(WORKERS),
    ]
    for name, (costs, _) in measured.items():
        lines += simulation_lines(name, costs, 1 if name == "SQLite" else os.cpu_count() or 1)
    publish("Scale", lines, write)


if __name__ == "__main__":
    main()
