"""Finished runs answer sentences that somebody types, in a child that stays and keeps their models open.

Their weights are kept in the cache, where an export keeps them too; where they are not, the run is made again.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from pmb.bounds import MOST_TRIED, MOST_TRIED_CHARACTERS, MOST_TRIED_MODELS
from pmb.errors import BadInput, PmbError
from pmb.insight.again import compared, sentence
from pmb.lab.child import WAITED_FOR
from pmb.lab.executors import CHILD_COMMAND, Child, ChildDied, Message
from pmb.lab.exports import (
    Forms,
    check_space,
    exportable,
    kept_weights,
    needed_megabytes,
    one_at_a_time,
    threads_of,
)
from pmb.lab.queue import spec_of_row
from pmb.lab.sources import rows_of
from pmb.lab.store import Row, Store
from pmb.settings import Settings, cores
from pmb.spec import Made, Progress, Report, Tried
from pmb.strict import parse

MADE = "made.json"  # what kept weights answered on dev, by pmb.engine.export
READERS = "layer_readers.safetensors"  # what is kept last, by pmb.engine.readers
TIMINGS = 7  # of the first text
IDLE_SECONDS = 300.0  # how long the child waits for the next sentence
BUSY_SECONDS = 20.0  # how long somebody waits while others are answered

Texts = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Subject:
    """A finished run that answers, and where its weights lie."""

    run: Row
    weights: str
    max_length: int


class Tries:
    """The child that answers, one question at a time; it ends when nobody has asked for some minutes."""

    def __init__(self) -> None:
        """Start no child yet."""
        self._turn, self._lock = threading.Lock(), threading.Lock()
        self._child: Child | None = None
        self._timer: threading.Timer | None = None

    def prepare(self) -> None:
        """Start the child ahead: its imports take seconds."""
        with self._lock:
            self._living()

    def ask(self, job: Message) -> Message:
        """Its answer; raises PmbError, also where others keep it busy."""
        if not self._turn.acquire(timeout=BUSY_SECONDS):
            raise PmbError(f"Others have been asking for {BUSY_SECONDS:.0f} s: try again in a moment.")
        try:
            with self._lock:
                child = self._living()
            return child.answer(job)
        except ChildDied:
            self.end()
            raise
        finally:
            self._turn.release()

    def end(self) -> None:
        """Let the child go."""
        with self._lock:
            child, self._child = self._child, None
            if self._timer:
                self._timer.cancel()
        if child:
            child.end()

    def _living(self) -> Child:
        if self._timer:
            self._timer.cancel()
        if not (self._child and self._child.alive):
            self._child = Child([*CHILD_COMMAND, WAITED_FOR])
        self._timer = threading.Timer(IDLE_SECONDS, self.end)
        self._timer.daemon = True
        self._timer.start()
        return self._child


def typed_texts(first: str, second: str | None = None) -> Texts:
    """What was typed, a text a line, empty lines left out; `second`: the other halves of pairs, line by line.

    Raises BadInput.
    """
    columns = [[line.strip() for line in typed.splitlines() if line.strip()] for typed in (first, second or "")]
    if not columns[0] or (second is not None and not columns[1]):
        raise BadInput("Nothing is typed yet." if second is None else "Both texts of a pair are wanted.")
    if second is None:
        return check_texts([(text,) for text in columns[0]], pair=False)
    if len(columns[0]) != len(columns[1]):
        raise BadInput(
            f"There are {len(columns[0])} first texts and {len(columns[1])} second ones; a pair is a line of each."
        )
    return check_texts(list(zip(*columns, strict=True)), pair=True)


def check_texts(texts: Sequence[Sequence[str]], pair: bool) -> Texts:
    """The texts, where so many of such a length can be answered; raises BadInput."""
    if not texts:
        raise BadInput("No sentence is given.")
    if len(texts) > MOST_TRIED:
        raise BadInput(f"{len(texts):,} sentences are typed; at most {MOST_TRIED} are answered at a time.")
    for parts in texts:
        if len(parts) != 1 + pair:
            wanted = "two texts, since it is about pairs" if pair else "one text"
            raise BadInput(f"The task wants {wanted}, and {len(parts)} are given: {' / '.join(parts)[:80]!r}.")
        if not all(part.strip() for part in parts):
            raise BadInput("A sentence is empty.")
        if (longest := max(map(len, parts))) > MOST_TRIED_CHARACTERS:
            raise BadInput(f"A sentence has {longest:,} characters; at most {MOST_TRIED_CHARACTERS:,} are read.")
    return tuple(map(tuple, texts))


def subjects_of(store: Store, settings: Settings, keys: Sequence[str]) -> list[Subject]:
    """The runs that are asked for, finished ones of one task; raises BadInput, RunFailed."""
    if not 0 < len(keys) <= MOST_TRIED_MODELS:
        raise BadInput(f"{len(keys)} runs are asked for; 1 to {MOST_TRIED_MODELS} answer beside each other.")
    runs = [exportable(store, key) for key in keys]
    if len({(run["task"], run["task_revision"]) for run in runs}) > 1:
        raise BadInput(f"Runs of one task answer beside each other, not of {runs[0]['task']} and {runs[-1]['task']}.")
    return [Subject(run, str(kept_weights(settings, run["key"])), spec_of_row(run).recipe.max_length) for run in runs]


def is_kept(settings: Settings, key: str) -> bool:
    """Whether a run's weights are here, with what reads its layers."""
    return (kept_weights(settings, key) / READERS).is_file()


def again_sentence(store: Store, settings: Settings, key: str) -> str:
    """Whether a run's kept weights answer on dev as the run did; raises PmbError."""
    run, path = exportable(store, key), kept_weights(settings, key) / MADE
    made = Made.from_dict(parse(path.read_bytes(), str(path)))
    return sentence(compared(run, asdict(made), run["predictions"]))


def answers(
    tries: Tries, store: Store, settings: Settings, keys: Sequence[str], texts: Sequence[Sequence[str]], pair: bool
) -> list[Tried]:
    """What each of the runs, whose weights are kept, answers to all the texts; raises PmbError."""
    checked = check_texts(texts, pair)
    subjects = subjects_of(store, settings, keys)
    if missing := [key[:12] for key in keys if not is_kept(settings, key)]:
        raise BadInput(f"The weights of run {missing[0]} are not kept; the run is to be made again first.")
    job = {
        "kind": "try",
        "assets": str(settings.assets),
        "weights": [one.weights for one in subjects],
        "max_lengths": [one.max_length for one in subjects],
        "texts": [list(parts) for parts in checked],
        "threads": cores(),
        "timings": TIMINGS,
    }
    return [Tried.from_dict(found) for found in tries.ask(job)["tried"]]


def keep(store: Store, settings: Settings, keys: Sequence[str], report: Report = lambda _: None) -> None:
    """Make those of the runs again whose weights are not kept, and keep them; raises PmbError."""
    store.check_may_write()
    for key in keys:
        run = exportable(store, key)
        if is_kept(settings, key):
            continue
        report(Progress("starting"))
        with one_at_a_time(settings, report):
            model, task = rows_of(store, settings, spec_of_row(run))
            check_space([(settings.home, needed_megabytes(run, Forms()))])
            job: Message = {"kind": "keep", "spec": spec_of_row(run).to_dict(), "assets": str(settings.assets)}
            job |= {"model": asdict(model), "task": asdict(task), "threads": threads_of(run)}
            Child([*CHILD_COMMAND, WAITED_FOR]).ask(job | {"weights": str(kept_weights(settings, key))}, report)
