"""How far do queue, store and pages go? Real statements are timed; a simulation puts a thousand workers before them.

Run: nice python -m benchmarks.scale [--sizes 1000,10000,100000,1000000] [--databases SQLite] [--write]
It takes hours and GBs in a temporary folder; each piece, a database with so many runs, is kept when it is done
(cache/scale.jsonl). Run again, it measures only what is missing, and prints all of it.
Stored runs are made up by SQL, as large as real ones: predictions for 2,000 dev sentences. PostgreSQL is a server of
the benchmark's own, with all that makes it safe switched on.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
from sqlalchemy import Integer, String, case, cast, func, insert, literal, select, text

from benchmarks.crowd import RUN_SECONDS, WORKERS, Costs, simulation_lines
from benchmarks.queue_load import RESULT
from benchmarks.results import machine_line, publish
from pmb.catalog.models import MODELS
from pmb.catalog.recipes import find_recipe
from pmb.catalog.tasks import TASKS
from pmb.lab import queue
from pmb.lab.listing import count_live, live_runs, waiting_by_work
from pmb.lab.results import finished_runs
from pmb.lab.schema import runs
from pmb.lab.store import Store, change_mark, list_runs, open_store
from pmb.settings import REPOSITORY, Settings
from pmb.spec import Progress, RunSpec
from tests.postgres import SAFE, programs, running

PIECES = REPOSITORY / "cache" / "scale.jsonl"
DATABASES = ("SQLite", "PostgreSQL")
SIZES = (1000, 10_000, 100_000, 1_000_000)
MODEL, TASK = MODELS["minilm-l6"], TASKS["rotten-tomatoes"]
RECIPE = find_recipe("standard", MODEL, TASK)
CONFIGURATIONS = 200  # 20 models by 10 tasks: a page shows one of them
TIMES = 60  # how often a quick statement is timed
SLOW_SECONDS = 0.5  # what takes longer is timed thrice
MOST_IN_MEMORY = 10_000  # more rows at once are not brought into Python
GROWN_AT_ONCE = 20_000  # rows of one transaction, which the log holds besides
FEW, MANY = 100, 10_000  # runs that wait
TEMPLATE = 2 * 10**9  # the seed of the run of which the others are copies
INDICES = {"runs_by_end": "state, finished_at", "runs_by_task": "task, state, model"}


def run_spec(seed: int) -> RunSpec:
    """A run of the embedded model; as many as there are seeds."""
    return RunSpec(MODEL.id, MODEL.revision, TASK.id, TASK.revision, 6, (0, 1, 2), RECIPE, seed)


# A result as large as a real one: with as many answers as Rotten Tomatoes has dev sentences, and in no order, since
# PostgreSQL packs what repeats.
FULL_RESULT = replace(
    RESULT,
    predictions=tuple(random.Random(0).choices((0, 1), k=2000)),
    losses=(0.7, 0.5, 0.4),
    versions={"torch": "made up"},
)


@dataclass(frozen=True, slots=True)
class Piece:
    """What is measured in one go and then kept: the statements on an empty store, or a store of so many runs."""

    database: str
    size: int  # stored runs; 0: the statements
    indexed: bool = True  # with the indices that pages need


@contextmanager
def empty_store(database: str) -> Iterator[Store]:
    """A store of its own; raises ClickException where there is no PostgreSQL server."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="scale-")))
        url = ""
        if database == "PostgreSQL":
            found = programs()
            if found is None:
                raise click.ClickException("No PostgreSQL server is installed: `make test` says how it is.")
            server = stack.enter_context(running(found, SAFE))
            url = server.url(server.create())
        store = open_store(Settings(folder, url, "local", folder / "none", None))
        yield stack.enter_context(closing(store))


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


def look(store: Store) -> None:
    """What each open page asks every second while something goes on or waits."""
    queue.release_lost(store)
    live_runs(store, FEW)
    count_live(store)
    waiting_by_work(store)


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


def statements(store: Store) -> dict[str, float | None]:
    """Seconds of each statement on an empty store, and of a page's look at a short and at a full queue."""
    numbers: dict[str, float | None] = dict(asdict(queue_costs(store)))
    numbers["renewals"] = renewals_a_second(store, 8)
    for waiting in (FEW, MANY):
        first = 10**7 + waiting  # of other seeds than the runs before
        queue.submit(store, [run_spec(first + i) for i in range(waiting)])
        numbers[f"look {waiting}"] = median_seconds(lambda: look(store))
        queue.cancel(store, [run_spec(first + i).key for i in range(waiting)])
    return numbers


def grow(store: Store, size: int) -> None:
    """Make up finished runs until there are so many, as copies of one, spread over models and tasks."""
    with store.connect() as connection:
        there = connection.execute(select(func.count()).select_from(runs).where(runs.c.state == "done")).scalar_one()
    if there == 0:
        key = queue.submit(store, [run_spec(TEMPLATE)])[0].key
        queue.claim(store, "host:3")
        queue.finish(store, key, "host:3", FULL_RESULT)
        there = 1
    for first in range(there, size, GROWN_AT_ONCE):
        _copy(store, first, min(size, first + GROWN_AT_ONCE))


def _copy(store: Store, first: int, end: int) -> None:
    numbers = select(literal(first).label("i")).cte("numbers", recursive=True)
    numbers = numbers.union_all(select(numbers.c.i + 1).where(numbers.c.i + 1 < end))
    i, model, task = numbers.c.i, numbers.c.i % CONFIGURATIONS // 10, numbers.c.i % 10
    half = func.md5(cast(i, String))
    on_sqlite = store.engine.dialect.name == "sqlite"
    changed: dict[str, Any] = {
        "key": func.lower(func.hex(func.randomblob(32))) if on_sqlite else func.concat(half, half),
        "model": case((model < 1, runs.c.model), else_="model-" + cast(cast(model, Integer), String)),
        "task": case((task == 0, runs.c.task), else_="task-" + cast(task, String)),
        "seed": i,
        "queued_at": runs.c.queued_at + i,
        "finished_at": runs.c.finished_at + i,
    }
    rows = select(*(changed.get(column.name, column) for column in runs.c)).join_from(
        runs, numbers, runs.c.key == run_spec(TEMPLATE).key
    )
    with store.connect() as connection:
        connection.execute(insert(runs).from_select([column.name for column in runs.c], rows))


def index(store: Store, wanted: bool) -> None:
    """Have the indices that pages need, or not; PostgreSQL counts and clears up now, as it would by itself in time."""
    for name, columns in INDICES.items():
        with store.connect() as connection:
            connection.execute(text(f"DROP INDEX IF EXISTS {name}"))
            if wanted:
                connection.execute(text(f"CREATE INDEX {name} ON runs ({columns})"))
    command = "PRAGMA wal_checkpoint(TRUNCATE)" if store.engine.dialect.name == "sqlite" else "VACUUM ANALYZE runs"
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(command))


def bytes_on_disk(store: Store) -> int:
    """What the store takes with its indices."""
    whole = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
    if store.engine.dialect.name == "postgresql":
        whole = "SELECT pg_total_relation_size('runs')"
    with store.connect() as connection:
        return int(connection.execute(text(whole)).scalar_one())


def growth(store: Store, size: int, indexed: bool) -> dict[str, float | None]:
    """Seconds of what pages and workers ask, with so many stored runs and a few that wait."""
    grow(store, size)
    index(store, indexed)
    numbers: dict[str, float | None] = {"bytes": bytes_on_disk(store)}
    first = 10**8 + 2 * size + 500 * indexed
    waiting = [run_spec(first + i) for i in range(FEW)]
    queue.submit(store, waiting)
    numbers["change mark"] = median_seconds(lambda: change_mark(store))
    numbers["runs of a page"] = median_seconds(lambda: finished_runs(store, MODEL, TASK, RECIPE.name))
    numbers["look"] = median_seconds(lambda: look(store))
    costs = queue_costs(store, 10**9 + 2 * size + 500 * indexed)
    queue.cancel(store, [spec.key for spec in waiting])
    numbers |= {"poll": costs.poll, "claim": costs.claim, "renew": costs.renew}
    numbers["all runs"] = median_seconds(lambda: list_runs(store)) if size <= MOST_IN_MEMORY else None
    return numbers


@dataclass(frozen=True, slots=True)
class Kept:
    """What a piece brought, and where and when."""

    numbers: Mapping[str, float | None]
    machine: str
    beside_other_work: bool


def kept_pieces(path: Path) -> dict[Piece, Kept]:
    """The pieces that are done."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {Piece(**row["piece"]): Kept(**row["kept"]) for row in map(json.loads, lines)}


def measure(pieces: Sequence[Piece], path: Path, beside_other_work: bool) -> None:
    """Measure these pieces of one database, smaller stores before larger ones, and keep each when it is done."""

    def keep(piece: Piece, numbers: Mapping[str, float | None]) -> None:
        row = {"piece": asdict(piece), "kept": asdict(Kept(numbers, machine_line(), beside_other_work))}
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        click.echo(
            f"{piece.database}, {piece.size:,} runs{'' if piece.indexed else ' without indices'}: done", err=True
        )

    for piece in (piece for piece in pieces if not piece.size):
        with empty_store(piece.database) as store:
            keep(piece, statements(store))
    if stored := sorted((piece for piece in pieces if piece.size), key=lambda piece: (piece.size, not piece.indexed)):
        with empty_store(stored[0].database) as store:
            for piece in stored:
                keep(piece, growth(store, piece.size, piece.indexed))


def milliseconds(seconds: float | None) -> str:
    """A cell."""
    return "–" if seconds is None else f"{1000 * seconds:.2f}"


def statement_lines(kept: Mapping[Piece, Kept]) -> Iterator[str]:
    """A row a database."""
    names = ("poll", "claim", "renew", "finish", "beat", f"look {FEW}", f"look {MANY}")
    for piece in (piece for piece in kept if not piece.size):
        numbers = kept[piece].numbers
        cells = [milliseconds(numbers[name]) for name in names]
        yield f"| {piece.database} | {' | '.join(cells)} | {numbers['renewals']:.0f} |"


def growth_lines(kept: Mapping[Piece, Kept]) -> Iterator[str]:
    """A row a database and number of stored runs."""
    names = ("change mark", "runs of a page", "look", "poll", "claim", "renew", "all runs")
    order = {database: place for place, database in enumerate(DATABASES)}
    for piece in sorted(
        (piece for piece in kept if piece.size), key=lambda it: (order[it.database], it.size, not it.indexed)
    ):
        numbers = kept[piece].numbers
        label = f"{piece.size:,}{'' if piece.indexed else ', without the indices'}"
        cells = [piece.database, label, f"{(numbers['bytes'] or 0) / piece.size / 1000:.1f} kB"]
        yield "| " + " | ".join([*cells, *(milliseconds(numbers[name]) for name in names)]) + " |"


def section(kept: Mapping[Piece, Kept]) -> list[str]:
    """All that is known."""
    beside = any(one.beside_other_work for one in kept.values())
    servers = {"SQLite": 1, "PostgreSQL": os.cpu_count() or 1}
    lines = [
        f"`nice python -m benchmarks.scale --write`: milliseconds a statement, median, one client, on an empty store. "
        f"A look is what an open page asks every second, with {FEW} and with {MANY:,} runs that wait.",
        *(["Some of it was taken beside other work on the same cores: to be measured again."] if beside else []),
        "",
        f"| store | poll | claim | renew | finish | beat | look, {FEW} wait | look, {MANY:,} wait "
        "| renewals a second, 8 threads |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *statement_lines(kept),
        "",
        f"Stored runs with 2,000 predictions each, {CONFIGURATIONS} pairs of model and task, {FEW} waiting; "
        "milliseconds.",
        "",
        "| store | runs | size of one | change mark | runs of a page | look | poll | claim | renew | all runs |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *growth_lines(kept),
        "",
        f"Simulated: how busy the store is, and the median wait for it, by workers. Runs take {RUN_SECONDS:.0f} s. "
        f"SQLite does one statement at a time, PostgreSQL is taken to do {servers['PostgreSQL']}.",
        "",
        "| store | habits | workers | " + " | ".join(str(workers) for workers in WORKERS) + " |",
        "| --- | --- | --- |" + " --- |" * len(WORKERS),
    ]
    for piece in (piece for piece in kept if not piece.size):
        numbers = kept[piece].numbers
        costs = Costs(**{name: numbers[name] or 0.0 for name in Costs.__dataclass_fields__})
        lines += simulation_lines(piece.database, costs, servers[piece.database])
    return lines


def pieces_of(databases: Sequence[str], sizes: Sequence[int]) -> list[Piece]:
    """The statements, the sizes, and the largest of them without the indices, of each database."""
    return [
        piece
        for database in databases
        for piece in (
            Piece(database, 0),
            *(Piece(database, size) for size in sizes),
            Piece(database, max(sizes), indexed=False),
        )
    ]


@click.command()
@click.option("--sizes", default=",".join(map(str, SIZES)), show_default=True)
@click.option("--databases", default=",".join(DATABASES), show_default=True)
@click.option("--pieces", type=click.Path(path_type=Path), default=PIECES, help="Where what is done is kept.")
@click.option("--again", is_flag=True, help="Forget what is kept there.")
@click.option("--beside-other-work", is_flag=True, help="Say so with the numbers.")
@click.option("--write", is_flag=True, help="Put the tables into RESULTS.md.")
def main(sizes: str, databases: str, pieces: Path, again: bool, beside_other_work: bool, write: bool) -> None:
    """Time the statements, grow the store, simulate the workers; what is done already is not done again."""
    chosen = databases.split(",")
    if unknown := set(chosen) - set(DATABASES):
        raise click.BadParameter(f"{', '.join(sorted(unknown))}; {', '.join(DATABASES)} are known.")
    if again:
        pieces.unlink(missing_ok=True)
    wanted = pieces_of(chosen, [int(size) for size in sizes.split(",")])
    for database in chosen:
        missing = [piece for piece in wanted if piece.database == database and piece not in kept_pieces(pieces)]
        measure(missing, pieces, beside_other_work)
    kept = {piece: one for piece, one in kept_pieces(pieces).items() if piece in wanted}
    machines = dict.fromkeys(one.machine for one in kept.values())
    publish("Scale", section(kept), write, "\n".join(machines))


if __name__ == "__main__":
    main()
