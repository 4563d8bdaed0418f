"""What every cut would score, before any training: computed at once in a child of its own, and remembered a row a cut.

A preview takes seconds and waits for no fine-tune, so that it is no work for a worker. Each row is written when it is
known: a preview that breaks off goes on where it was, and a second one is there at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from sqlalchemy import select

from pmb.catalog.models import BaseModel, cuts_by
from pmb.catalog.tasks import Task
from pmb.errors import RunFailed
from pmb.lab.background import Work, begin
from pmb.lab.child import WAITED_FOR
from pmb.lab.executors import CHILD_COMMAND, Child
from pmb.lab.plan import SCORE_SENTENCES, identity_of_scores, known_layer_scores
from pmb.lab.schema import previews as table
from pmb.lab.sources import find_model, find_task
from pmb.lab.store import Row, Store, matching, save_layer_scores
from pmb.settings import Settings, cores
from pmb.spec import Progress, Report

TRAIN_SENTENCES, DEV_SENTENCES = 600, 400  # at most
SCHEMA = 1  # raise it when the same cut would get another score
AHEAD_SECONDS = 120.0  # how long a child that was started ahead of its job is kept
CUTS_A_DRAWING = 8  # drawing takes from the cores what computes
LISTEN_SECONDS = 0.25  # how soon it is seen that nobody wants it any more

Cut = tuple[int, ...]


def known_previews(store: Store, model: BaseModel, task: Task) -> dict[Cut, Row]:
    """What is known of a model on a task as they are now, by the layers that stay."""
    return _known(store, _identity(model.id, model.revision, task.id, task.revision))


def frozen_scores(store: Store, about: Row) -> dict[Cut, float]:
    """The scores of the frozen features, by the layers that stay, of the model and task that a row names."""
    names = ("model", "model_revision", "task", "task_revision")
    return {kept: row["score"] for kept, row in _known(store, _identity(*(about[name] for name in names))).items()}


def _known(store: Store, identity: Row) -> dict[Cut, Row]:
    query = select(table).where(*matching(table, identity))
    return {tuple(map(int, row["kept"].split(","))): row for row in store.read(table, query)}


def missing_previews(
    store: Store, model: BaseModel, task: Task, strategies: Sequence[str], also: Iterable[Cut] = ()
) -> bool:
    """Whether a preview by these strategies, and of more cuts, has something to compute."""
    scores = known_layer_scores(store, model, task)
    if scores is None and "contribution" in strategies and not model.shared:
        return True
    return bool({*cuts_by(model, strategies, scores), *also} - set(known_previews(store, model, task)))


def preview(
    store: Store,
    settings: Settings,
    model: BaseModel,
    task: Task,
    strategies: Sequence[str],
    also: Sequence[Cut] = (),
    report: Report = lambda _: None,
    stop: threading.Event | None = None,
    start: Callable[[], Child] | None = None,
) -> None:
    """Compute and remember what is not known of these strategies' cuts, those of the first before all others.

    `also`: more cuts, such as those that have been measured: by them predictions are calibrated. `start` gives a child.
    A model and a task of the Hub are looked up and fetched. Returns early where `stop` is set. Raises PmbError.
    """
    store.check_may_write()
    report(Progress("starting"))
    model = find_model(store, settings, model.id, pinned=True)
    model.check_weights(settings.assets)
    if task.unfetched:
        task = find_task(store, settings, task.id, pinned=True, report=report)
    if not missing_previews(store, model, task, strategies, also):
        return
    job = {
        "kind": "preview",
        "model": asdict(model),
        "task": asdict(task),
        "assets": str(settings.assets),
        "strategies": list(strategies),
        "also": [list(kept) for kept in also],
        "known": [list(kept) for kept in known_previews(store, model, task)],
        "scores": known_layer_scores(store, model, task),
        "sentences": SCORE_SENTENCES,  # for the scores, where they are not known
        "train_sentences": TRAIN_SENTENCES,
        "dev_sentences": DEV_SENTENCES,
        "threads": cores(),
    }
    child = (start or new_child)()
    try:
        child.send(job)
        while stop is None or not stop.is_set():
            message = child.receive(LISTEN_SECONDS)
            if message is None:
                continue
            if "error" in message:
                raise RunFailed(message["error"])
            if "progress" in message:
                report(Progress(**message["progress"]))
            elif "scores" in message:
                save_layer_scores(store, identity_of_scores(model, task), message["scores"])
            elif "kept" in message:
                save_preview(store, model, task, message)
            else:
                return
    finally:
        child.end()


def new_child() -> Child:
    """A child that gives way to nobody: somebody waits for a preview."""
    return Child([*CHILD_COMMAND, WAITED_FOR])


@contextmanager
def child_ahead(store: Store, model: BaseModel, task: Task, strategies: Sequence[str]) -> Iterator[Callable[[], Child]]:
    """What starts the child of a preview: where something is missing it goes already, beside what is done meanwhile.

    It ends with the context. Raises NotAllowed.
    """
    if not missing_previews(store, model, task, strategies):
        yield new_child
        return
    store.check_may_write()
    child = new_child()
    try:
        yield lambda: child
    finally:
        child.end()


@dataclass(slots=True)
class Going(Work):
    """A preview that this process computes, or has just computed."""

    progress: Progress = field(default_factory=lambda: Progress("waiting"))
    note: str = ""  # what its user should know of how it was computed
    first: int = 0  # how many cuts the strategy makes that comes first

    def told(self) -> int:
        """How often a page has been worth drawing again: with the whole first curve, and with every CUTS_A_DRAWING."""
        done = self.progress.step if self.progress.phase == "previewing" else 0
        return int(0 < self.first <= done) + done // CUTS_A_DRAWING


class Previews:
    """The previews that this process computes beside its other work: one at a time, each in a thread."""

    def __init__(self) -> None:
        """Compute none yet."""
        self._lock, self._turn = threading.Lock(), threading.Lock()
        self._ahead: Child | None = None
        self._going: dict[tuple[str, str], Going] = {}

    def start(
        self,
        store: Store,
        settings: Settings,
        model: BaseModel,
        task: Task,
        strategies: Sequence[str],
        also: Sequence[Cut] = (),
    ) -> None:
        """Begin, unless the same goes on already; raises NotAllowed."""
        store.check_may_write()
        with self._lock:
            before = self._going.get((model.id, task.id))
            if before and not before.ended:
                return
            first = len(cuts_by(model, strategies[:1], known_layer_scores(store, model, task)))
            going = self._going[model.id, task.id] = Going(first=first)

        def tell(progress: Progress) -> None:
            going.progress, going.note = progress, progress.note or going.note

        def compute() -> None:
            with self._turn:
                if not going.stop.is_set():
                    preview(store, settings, model, task, strategies, also, tell, going.stop, self._take)

        begin(going, compute)

    def prepare(self) -> None:
        """Start a child ahead, unless one is there: its imports take as long as the first curve. Unused it ends."""
        with self._lock:
            if self._ahead and self._ahead.alive:
                return
            child = self._ahead = new_child()
        timer = threading.Timer(AHEAD_SECONDS, self._let_go, [child])
        timer.daemon = True
        timer.start()

    def _take(self) -> Child:
        """The child that was started ahead, else a new one."""
        with self._lock:
            child, self._ahead = self._ahead, None
        return child if child and child.alive else new_child()

    def _let_go(self, child: Child) -> None:
        with self._lock:
            unused = self._ahead is child
            if unused:
                self._ahead = None
        if unused:
            child.end()

    def of(self, model: BaseModel, task: Task) -> Going | None:
        """The newest of a model on a task, which may have ended."""
        with self._lock:
            return self._going.get((model.id, task.id))


def _identity(model: str, model_revision: str, task: str, task_revision: str) -> Row:
    return {
        "model": model,
        "model_revision": model_revision,
        "task": task,
        "task_revision": task_revision,
        "train_sentences": TRAIN_SENTENCES,
        "dev_sentences": DEV_SENTENCES,
        "schema": SCHEMA,
    }


def save_preview(store: Store, model: BaseModel, task: Task, message: Row) -> None:
    """Remember what a child told of one cut; what is there already stays."""
    row = _identity(model.id, model.revision, task.id, task.revision)
    row |= {"kept": ",".join(map(str, message["kept"])), "metric": task.metric}
    row |= {"score": message["score"], "device": message["computed_on"]}
    store.remember(table, [row | {"source": "measured", "measured_at": time.time()}])
