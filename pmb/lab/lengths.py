"""How long a task's items are in tokens of a model: counted once in a child process, and remembered.

One row a model and task as they are now, with the number of items of each length, so that it answers for every limit.
Nothing is counted, and so nothing is said, where the tokenizer or the data are not on this machine.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

from sqlalchemy import select

from pmb.catalog.models import BaseModel
from pmb.catalog.tasks import Task
from pmb.errors import PmbError
from pmb.insight.lengths import longer_sentence
from pmb.lab import queue
from pmb.lab.schema import token_lengths as table
from pmb.lab.store import Row, Store, about, matching
from pmb.settings import Settings
from pmb.spec import LengthCounts, Recipe, Report, RunSpec

AGAIN_SECONDS = 600.0  # after which it is tried again where it could not be counted


def known_lengths(store: Store, model: BaseModel, task: Task) -> LengthCounts | None:
    """What is counted of a model and a task as they are now; None where nothing is."""
    for row in store.read(table, select(table).where(*matching(table, about(model, task)))):
        return LengthCounts(_pairs(row["train"]), _pairs(row["dev"]))
    return None


def known_longer(store: Store, model: BaseModel, task: Task, recipe: Recipe) -> str | None:
    """What the recipe's limit cuts off, in a sentence that is empty where that is nothing; None: not counted."""
    counts = known_lengths(store, model, task)
    return None if counts is None else longer_sentence(counts, recipe.max_length)


def can_count(store: Store, settings: Settings, model: BaseModel, task: Task) -> bool:
    """Whether counting may give an answer here, as far as can be told without a child."""
    if store.refusal or task.unfetched or (model.hub and not (model.commit or model.revision)):
        return False
    files = [settings.assets / wheel for wheel in (model.wheel, task.wheel) if wheel]
    if model.parts:
        files.append(model.unpacked_in(settings.assets))
    return all(file.exists() for file in files)


def count(store: Store, settings: Settings, model: BaseModel, task: Task, report: Report = lambda _: None) -> None:
    """Count in a child and remember it; the child downloads nothing. Raises PmbError."""
    from pmb.lab.executors import Child  # time to import that a cached answer needs not take

    store.check_may_write()
    job: Row = {"kind": "token lengths", "model": asdict(model), "task": asdict(task), "assets": str(settings.assets)}
    found = Child().ask(job, report)["token_lengths"]
    if found is not None:
        save_lengths(store, model, task, LengthCounts.from_dict(found))


def save_lengths(store: Store, model: BaseModel, task: Task, counts: LengthCounts) -> None:
    """Remember them; what is there already stays."""
    values = {name: [list(pair) for pair in pairs] for name, pairs in asdict(counts).items()}
    store.remember(table, [about(model, task) | values | {"measured_at": time.time()}])


def say_longer(
    store: Store,
    settings: Settings,
    model: BaseModel,
    task: Task,
    specs: Sequence[RunSpec],
    say: Callable[[str], None],
    report: Report = lambda _: None,
) -> None:
    """Say what the limit of runs of one model, task and recipe cuts off, before they are queued.

    It is counted now where it is not known. Of runs that have ended all nothing is said. That it cannot be counted is
    no reason not to run: whatever is wrong, the run will say it.
    """
    if not queue.unfinished(store, specs):
        return
    recipe = specs[0].recipe
    said = known_longer(store, model, task, recipe)
    if said is None and can_count(store, settings, model, task):
        try:
            count(store, settings, model, task, report)
        except PmbError as error:
            say(f"The tokens of the items were not counted: {error}")
        said = known_longer(store, model, task, recipe)
    if said:
        say(said)


class Counting:
    """What this process counts beside its other work: one model and task at a time, each in a thread."""

    def __init__(self) -> None:
        """Nothing is counted yet."""
        self._lock, self._turn = threading.Lock(), threading.Lock()
        self._going: set[tuple[str, ...]] = set()
        self._ended: dict[tuple[str, ...], float] = {}  # seconds of the clock

    def start(self, store: Store, settings: Settings, model: BaseModel, task: Task) -> None:
        """Begin, unless the same goes on or has ended a short while ago."""
        key = _key(model, task)
        with self._lock:
            recently = time.monotonic() - self._ended.get(key, -AGAIN_SECONDS) < AGAIN_SECONDS
            if key in self._going or recently:
                return
            self._going.add(key)
        threading.Thread(target=self._count, args=(store, settings, model, task), daemon=True).start()

    def goes_on(self, model: BaseModel, task: Task) -> bool:
        """Whether this model and task are counted, or wait for it."""
        with self._lock:
            return _key(model, task) in self._going

    def _count(self, store: Store, settings: Settings, model: BaseModel, task: Task) -> None:
        try:
            with self._turn:
                count(store, settings, model, task)
        except (PmbError, OSError) as error:  # nobody asked for it; a run will say what is wrong
            print(f"The tokens of {task.id} were not counted: {error}", file=sys.stderr)
        finally:
            with self._lock:
                self._going.discard(_key(model, task))
                self._ended[_key(model, task)] = time.monotonic()


def _key(model: BaseModel, task: Task) -> tuple[str, ...]:
    return tuple(about(model, task).values())


def _pairs(pairs: list[list[int]]) -> tuple[tuple[int, int], ...]:
    return tuple((length, count) for length, count in pairs)
