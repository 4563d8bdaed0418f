"""The queue is the runs table: submit, claim by one guarded UPDATE, renew, finish, cancel, retry."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, between, bindparam, case, func, or_, select, update

from pmb.errors import BadInput, NotAllowed, QueueFull
from pmb.lab.database import begin_writing
from pmb.lab.rows import row_fault
from pmb.lab.schema import Key, runs, workers
from pmb.lab.store import Store, plain_rows
from pmb.settings import MOST_JOBS
from pmb.spec import Progress, RunResult, RunSpec

LEASE_SECONDS = 15.0
ALIVE_SECONDS = 10.0  # a worker that was silent for longer is taken for dead
MAX_DEATHS = 5  # of a run's own process: then it is the run that brings it down
MAX_ATTEMPTS = 20  # also where only workers died, or the machine: nothing is tried for ever
BACKOFF_SECONDS = 1.0  # times the square of the deaths: 1, 4, 9 and 16 s
MOST_COUNTED = MOST_JOBS + 1
CLOCK_SECONDS = 5.0  # by which clocks may differ: a time that lies further in the future was written by a wrong one
MOST_NAMED = 10_000  # values in one statement: databases take some ten thousands
ENDED = ("done", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Submission:
    """What became of one asked-for run: `cached` when its result was there already."""

    key: str
    state: str

    @property
    def cached(self) -> bool:
        """Whether the result was there already."""
        return self.state == "done"


@dataclass(frozen=True, slots=True)
class Claim:
    """A run that this worker now holds."""

    key: str
    spec: RunSpec
    attempts: int
    claimed_at: float = field(default_factory=time.monotonic, compare=False)

    @property
    def seconds(self) -> float:
        """How long this worker has held it, whatever was done to the clock meanwhile."""
        return time.monotonic() - self.claimed_at


def submit(store: Store, specs: Sequence[RunSpec]) -> list[Submission]:
    """Queue each run unless it is there; one that failed or was cancelled is queued again. Raises PmbError.

    The key is the primary key: however many ask for a run, it is one row. Of those that would make too many wait none
    is queued. A row that is damaged gives way to a new one. Who may not write is given what is there already.
    """
    keys = [spec.key for spec in specs]
    if store.refusal:
        states = states_of(store, keys)
        if any(states.get(key) != "done" for key in keys):
            raise NotAllowed(store.refusal)
        return [Submission(key, "done") for key in keys]
    with store.connect() as connection:
        begin_writing(connection)
        now = store.now(connection)
        # Microseconds keep the order of a sweep.
        rows = [_new_row(spec, store.user) | {"queued_at": now + i * 1e-6} for i, spec in enumerate(specs)]
        before = connection.execute(_WAITING).scalar_one()
        there = plain_rows(connection.execute(select(runs).where(runs.c.key.in_(keys))))
        if damaged := [row["key"] for row in there if row_fault(runs, row)]:
            connection.execute(runs.delete().where(runs.c.key.in_(damaged)))
        if rows:
            # In the order of the keys, as whoever locks several rows here does it: nobody waits in a circle.
            connection.execute(store.insert_new(runs), sorted(rows, key=lambda row: str(row["key"])))
        _queue_again(connection, keys, now, store.user)
        waiting = connection.execute(_WAITING).scalar_one()
        if waiting > max(before, store.most_waiting):
            raise QueueFull(
                f"{before:,} runs wait already and {waiting - before:,} more were asked for; at most "
                f"{store.most_waiting:,} may wait (PMB_QUEUE_LIMIT). Ask again when some have run, or cancel some."
            )
    states = states_of(store, keys)
    return [Submission(key, states[key]) for key in keys]


def states_of(store: Store, keys: Sequence[str]) -> dict[str, str]:
    """The states of those runs that are in the store, by key."""
    with store.connect() as connection:
        found = connection.execute(select(runs.c.key, runs.c.state).where(runs.c.key.in_(keys)))
        return {row.key: row.state for row in found}


def unfinished(store: Store, specs: Sequence[RunSpec]) -> list[RunSpec]:
    """The runs that have no result yet, in their order."""
    states = states_of(store, [spec.key for spec in specs])
    return [spec for spec in specs if states.get(spec.key) != "done"]


def claim(store: Store, worker: str) -> Claim | None:
    """Take the longest-waiting run that is due; None when nothing is.

    One whose row is damaged has failed: nobody can do it, and it must not hold up the others.
    """
    while row := _taken(store, worker):
        if not (why := row_fault(runs, row)):
            return Claim(row["key"], spec_of_row(row), row["attempts"])
        fail(store, row["key"], worker, f"The row of this run in the store is damaged: {why}.", "")
    return None


def _taken(store: Store, worker: str) -> dict[str, Any] | None:
    """The row of the longest-waiting run that is due, now this worker's."""
    with store.connect() as connection:
        if connection.execute(_ANY_WAITS).first() is None:
            return None  # it does not take the place of a writer
        begin_writing(connection)
        now = store.now(connection)
        oldest = select(runs.c.key).where(_due(now)).order_by(runs.c.queued_at, runs.c.key).limit(1)
        oldest = oldest.with_for_update(skip_locked=True)  # on PostgreSQL: another's claim is not waited for
        taken = (
            update(runs)
            .where(runs.c.key == oldest.scalar_subquery(), runs.c.state == "queued")
            .values(
                state="running",
                worker=worker,
                lease_until=now + LEASE_SECONDS,
                started_at=now,
                attempts=runs.c.attempts + 1,
                progress=asdict(Progress("starting")),
            )
            .returning(*runs.c)
        )
        return next(iter(plain_rows(connection.execute(taken))), None)


def count_waiting(store: Store, later: bool = False, at_most: int = MOST_COUNTED) -> int:
    """How many runs could be claimed now; or `later`, since their process died a short while ago.

    Counted as far as makes a difference to a worker.
    """
    with store.connect() as connection:
        which = runs.c.state == "queued" if later else _due(store.now(connection))
        some = select(runs.c.key).where(which).limit(at_most).subquery()
        return connection.execute(select(func.count()).select_from(some)).scalar_one()


def live_keys(store: Store) -> set[str]:
    """The keys of all runs that wait or go on."""
    query = select(runs.c.key).where(runs.c.state.in_(("queued", "running")))
    with store.connect() as connection:
        return set(connection.execute(query).scalars())


def list_waiting(store: Store) -> list[RunSpec]:
    """The runs that could be claimed now, the longest-waiting first."""
    with store.connect() as connection:
        due = _due(store.now(connection))
    return [
        spec_of_row(row) for row in store.read(runs, select(runs).where(due).order_by(runs.c.queued_at, runs.c.key))
    ]


def renew(store: Store, key: str, worker: str, progress: Progress, seconds: float | None = None) -> str:
    """Renew the lease and tell the progress; returns "go on", "cancel", or "lost" when another worker has it.

    `seconds`: for how long the run has gone on, by a clock that is never set.
    """
    mine = _held(key, worker)
    with store.connect() as connection:
        begin_writing(connection)
        now = store.now(connection)
        values = {"lease_until": now + LEASE_SECONDS, "progress": asdict(progress)} | _started(now, seconds)
        row = connection.execute(update(runs).where(mine).values(values).returning(runs.c.cancel_requested)).first()
    if row is None:
        return "lost"
    return "cancel" if row.cancel_requested else "go on"


def finish(store: Store, key: str, worker: str, result: RunResult, seconds: float | None = None) -> bool:
    """Write the result, once; False when another worker holds the run, or it is cancelled.

    A run that went back to the queue meanwhile, and that nobody has taken, needs not be done again. Memory is
    `store.save_memory`'s. `seconds`: as for `renew`.
    """
    values = {name: value for name, value in asdict(result).items() if name in runs.c}
    values |= {name: list(values[name]) for name in ("predictions", "losses", "scores")} | {"error": None, "log": None}
    values |= {"num_dev": len(result.predictions), "worker": worker, "not_before": None}
    return _end(store, key, worker, "done", values, or_(_held(key, worker), _waits(key)), seconds)


def fail(store: Store, key: str, worker: str, error: str, log: str, seconds: float | None = None) -> bool:
    """End a run without a result, with the sentence for its user and the end of its log; `seconds`: as for `renew`."""
    return _end(store, key, worker, "failed", {"error": error, "log": log}, seconds=seconds)


def lose(store: Store, key: str, worker: str, error: str, log: str) -> None:
    """The run's own process died without an answer: it is tried again, or fails after MAX_DEATHS.

    It goes behind all that wait, and waits longer each time: what took its memory may be gone by then.
    """
    deaths = runs.c.deaths + 1
    with store.connect() as connection:
        now = store.now(connection)
        ended = {
            "state": case((runs.c.cancel_requested, "cancelled"), (deaths >= MAX_DEATHS, "failed"), else_="queued"),
            "error": case((deaths >= MAX_DEATHS, f"{error} It was tried {MAX_DEATHS} times."), else_=error),
            "finished_at": case((or_(deaths >= MAX_DEATHS, runs.c.cancel_requested), now), else_=None),
        }
        again = {"deaths": deaths, "queued_at": now, "not_before": now + BACKOFF_SECONDS * deaths * deaths}
        values = ended | again | {"log": log} | _UNHELD
        connection.execute(update(runs).where(_held(key, worker)).values(values))


def end_cancelled(store: Store, key: str, worker: str) -> bool:
    """End a run whose cancellation was asked for; one that is asked for again meanwhile goes back to its place."""
    if _end(store, key, worker, "cancelled", {}, and_(_held(key, worker), runs.c.cancel_requested)):
        return True
    give_back(store, key, worker)
    return False


def give_back(store: Store, key: str, worker: str) -> bool:
    """Put a held run back at its place in the queue: the worker stops before its end."""
    return _update_held(store, key, worker, {"state": "queued", "attempts": runs.c.attempts - 1} | _UNHELD)


def release_lost(store: Store, dead_workers: Sequence[str] = (), living: str = "") -> None:
    """Give runs whose lease ran out, or whose worker is known to be dead, back to the queue, each at its place.

    A lease that ends later than any can was given by a wrong clock and counts as run out.

    That its worker died is held against no run, unless it happens MAX_ATTEMPTS times: perhaps the run takes the
    machine's last memory. One that was to be cancelled is. The runs of the worker `living` are not lost: it asks
    itself, and could not renew its leases while the store's disk was full.
    """
    if store.refusal:
        return  # who may only look leaves it to the others
    with store.connect() as connection:
        now = store.now(connection)
        believed = between(runs.c.lease_until, now, now + LEASE_SECONDS + CLOCK_SECONDS)
        ran_out = and_(~believed, runs.c.worker != living)
        lost = and_(runs.c.state == "running", or_(ran_out, runs.c.worker.in_(dead_workers)))
        _release(store, connection, lost, skip=True)  # whoever holds one of them is about to renew or to end it


def release(store: Store, key: str, worker: str) -> None:
    """The machine on which a held run's process was died: as if its worker had, it goes back to its place."""
    with store.connect() as connection:
        _release(store, connection, _held(key, worker))


def _release(store: Store, connection: Connection, lost: ColumnElement[bool], skip: bool = False) -> None:
    now = store.now(connection)
    too_often = runs.c.attempts >= MAX_ATTEMPTS
    sentence = f"This run was begun {MAX_ATTEMPTS} times and its worker, or the machine, died each time."
    values: dict[str, Any] = {
        "state": case((runs.c.cancel_requested, "cancelled"), (too_often, "failed"), else_="queued"),
        "error": case((and_(too_often, ~runs.c.cancel_requested), sentence), else_=runs.c.error),
        "finished_at": case((or_(too_often, runs.c.cancel_requested), now), else_=None),
    }
    if keys := _locked(connection, lost, skip):  # usually none: no lock is taken
        connection.execute(update(runs).where(runs.c.key.in_(keys), lost).values(values | _UNHELD))


def cancel(store: Store, keys: Sequence[str]) -> None:
    """End waiting runs at once, ask running ones to stop; ended ones stay as they are. Raises NotAllowed."""
    store.check_may_write()
    with store.connect() as connection:
        now = store.now(connection)
        mine = runs.c.key.in_(_locked(connection, runs.c.key.in_(keys)))
        waiting, running = and_(mine, runs.c.state == "queued"), and_(mine, runs.c.state == "running")
        connection.execute(update(runs).where(waiting).values(state="cancelled", finished_at=now))
        connection.execute(update(runs).where(running).values(cancel_requested=True))


def retry(store: Store, keys: Sequence[str]) -> None:
    """Queue failed and cancelled runs again, with their attempts counted anew; raises NotAllowed.

    One that is to be cancelled and still goes on is not, any more.
    """
    store.check_may_write()
    with store.connect() as connection:
        begin_writing(connection)
        _queue_again(connection, keys, store.now(connection), store.user)


def find_key(store: Store, prefix: str) -> str:
    """The key that starts so; raises BadInput where none or several do."""
    return find_keys(store, [prefix])[0]


def find_keys(store: Store, prefixes: Sequence[str]) -> list[str]:
    """For each prefix the key that starts so; raises BadInput where none or several do.

    One query for all prefixes of a length, and not one for each: people cancel ten thousand runs at a time.
    """
    starting: dict[str, list[str]] = {prefix: [] for prefix in prefixes}
    of_length: dict[int, list[str]] = defaultdict(list)
    for prefix in starting:
        of_length[len(prefix)].append(prefix)
    with store.connect() as connection:
        for length, wanted in of_length.items():
            beginning = func.substr(runs.c.key, 1, length, type_=Key())
            for start in range(0, len(wanted), MOST_NAMED):
                found = select(runs.c.key).where(beginning.in_(wanted[start : start + MOST_NAMED]))
                for key in connection.execute(found).scalars():
                    starting[key[:length]].append(key)
    for prefix, keys in starting.items():
        if len(keys) != 1 or not prefix:
            kind = "No run" if not keys else "More than one run"
            raise BadInput(f"{kind} begins with {prefix!r}; `python -m pmb runs` lists them.")
    return [starting[prefix][0] for prefix in prefixes]


def waiting_before(store: Store, key: str) -> int | None:
    """How many runs wait before this one; None when it does not wait."""
    mine = select(runs.c.queued_at).where(runs.c.key == key, runs.c.state == "queued")
    with store.connect() as connection:
        queued_at = connection.execute(mine).scalar()
        if queued_at is None:
            return None
        earlier = and_(runs.c.state == "queued", runs.c.queued_at < queued_at)
        return connection.execute(select(func.count()).select_from(runs).where(earlier)).scalar_one()


def beat(store: Store, worker: str) -> None:
    """Say that this worker is alive."""
    with store.connect() as connection:
        now = store.now(connection)
        done = connection.execute(update(workers).where(workers.c.name == worker).values(heartbeat_at=now))
        if not done.rowcount:
            connection.execute(workers.insert(), {"name": worker, "started_at": now, "heartbeat_at": now})


def sign_off(store: Store, worker: str) -> None:
    """Say that this worker has ended."""
    with store.connect() as connection:
        connection.execute(workers.delete().where(workers.c.name == worker))


def list_workers(store: Store) -> list[str]:
    """Names of the workers that have been heard of within ALIVE_SECONDS."""
    with store.connect() as connection:
        alive = _alive(store.now(connection))
    return [row["name"] for row in store.read(workers, select(workers).where(alive).order_by(workers.c.name))]


def crowd(store: Store) -> tuple[int, int]:
    """How many runs go on, and how many workers are alive."""
    running = select(func.count()).select_from(runs).where(runs.c.state == "running")
    with store.connect() as connection:
        alive = select(func.count()).select_from(workers).where(_alive(store.now(connection)))
        return connection.execute(running).scalar_one(), connection.execute(alive).scalar_one()


def spec_of_row(row: dict[str, Any]) -> RunSpec:
    """The spec that a row of the runs table holds; raises BadInput."""
    names = (
        "model",
        "model_revision",
        "task",
        "task_revision",
        "num_hidden_layers",
        "kept_layers",
        "seed",
        "procedure",
    )
    return RunSpec.from_dict({name: row[name] for name in names} | {"recipe": row["recipe_values"]})


def _alive(now: float) -> ColumnElement[bool]:
    """Which workers have been heard of; a heartbeat in the future is one of a wrong clock."""
    return between(workers.c.heartbeat_at, now - ALIVE_SECONDS, now + CLOCK_SECONDS)


def _due(now: float) -> ColumnElement[bool]:
    """Which runs could be claimed; one that may be begun later than any was put off by a wrong clock."""
    put_off = between(runs.c.not_before, now, now + BACKOFF_SECONDS * MAX_DEATHS**2 + CLOCK_SECONDS)
    return and_(runs.c.state == "queued", or_(runs.c.not_before.is_(None), ~put_off))


_UNHELD: dict[str, Any] = {"worker": None, "lease_until": None, "progress": None, "cancel_requested": False}


_ANY_WAITS = select(runs.c.key).where(runs.c.state == "queued").limit(1)
_WAITING = select(func.count()).select_from(runs).where(runs.c.state == "queued")


def _locked(connection: Connection, which: ColumnElement[bool], skip: bool = False) -> list[str]:
    """The keys of those runs, locked in their order until the transaction ends, so that nobody waits in a circle."""
    query = select(runs.c.key).where(which).order_by(runs.c.key).with_for_update(skip_locked=skip)
    return list(connection.execute(query).scalars())


def _new_row(spec: RunSpec, user: str = "") -> dict[str, Any]:
    values = spec.to_dict()
    recipe = values.pop("recipe")
    more = {"recipe": recipe["name"], "recipe_values": recipe, "source": "measured", "state": "queued"}
    return values | more | {"key": spec.key, "attempts": 0, "cancel_requested": False, "started_by": user or None}


def _queue_again(connection: Connection, keys: Sequence[str], now: float, user: str) -> None:
    """Put those of the runs that failed or were cancelled at the end of the queue, in the order of the keys.

    One that was to be cancelled and still goes on is not, any more.
    """
    values: dict[str, Any] = {"state": "queued", "attempts": 0, "deaths": 0, "not_before": None}
    values |= {"started_at": None, "finished_at": None, "error": None, "log": None}
    locked = _locked(connection, runs.c.key.in_(keys))  # all of them: none ends between the two
    connection.execute(
        update(runs).where(runs.c.key.in_(locked), runs.c.state == "running").values(cancel_requested=False)
    )
    ended_badly = runs.c.state.in_(("failed", "cancelled"))
    again = set(connection.execute(select(runs.c.key).where(runs.c.key.in_(locked), ended_badly)).scalars())
    if again:
        values |= _UNHELD | {"started_by": user or None, "queued_at": bindparam("at")}
        one = update(runs).where(runs.c.key == bindparam("one")).values(values)
        places = [{"one": key, "at": now + i * 1e-6} for i, key in enumerate(keys) if key in again]
        connection.execute(one, places)


def _started(now: float, seconds: float | None) -> dict[str, float]:
    """The column with the start of a run that has gone on for so long; nothing where that is not known."""
    return {} if seconds is None else {"started_at": now - seconds}


def _end(
    store: Store,
    key: str,
    worker: str,
    state: str,
    values: dict[str, Any],
    where: ColumnElement[bool] | None = None,
    seconds: float | None = None,
) -> bool:
    condition = _held(key, worker) if where is None else where
    ending = {"state": state, "progress": None, "lease_until": None}
    with store.connect() as connection:
        now = store.now(connection)
        values = values | ending | {"finished_at": now} | _started(now, seconds)
        return bool(connection.execute(update(runs).where(condition).values(values)).rowcount)


def _update_held(store: Store, key: str, worker: str, values: dict[str, Any]) -> bool:
    with store.connect() as connection:
        return bool(connection.execute(update(runs).where(_held(key, worker)).values(values)).rowcount)


def _held(key: str, worker: str) -> ColumnElement[bool]:
    return and_(runs.c.key == key, runs.c.worker == worker, runs.c.state == "running")


def _waits(key: str) -> ColumnElement[bool]:
    return and_(runs.c.key == key, runs.c.state == "queued")
