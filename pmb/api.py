"""The lab from Python: `pmb.plan`, `pmb.run` and `pmb.results`, and the command line's own way to a run.

Wants the repository's folder as the working directory, or on Python's path. Settings are those of the environment.
"""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from pmb import settings
from pmb.catalog.recipes import check_recipe
from pmb.catalog.tasks import Task
from pmb.errors import BadInput
from pmb.lab import queue
from pmb.lab.answer import answer
from pmb.lab.lengths import say_longer
from pmb.lab.plan import Plan, plan_kept, plan_strategy, plan_threshold, spec_of, strategies_of_plan, with_data
from pmb.lab.sources import find_model, find_task, notes_on
from pmb.lab.store import Row, Store, open_store
from pmb.spec import PROCEDURES, Progress, progress_words
from pmb.strategies import EVERY_STRATEGY, SCORED

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_MODEL, DEFAULT_TASK = "minilm-l6", "rotten-tomatoes"
RUN_RECIPE = "quick"  # of a run by command: whoever waits for it wants it soon


@dataclass(frozen=True, slots=True)
class Cut:
    """A cut as a person asks for it: by a strategy and a drop count, by a threshold, or by the layers that stay."""

    model: str
    task: str
    strategy: str | None
    drop: int | None
    threshold: float | None
    keep: Sequence[int] | None


def plan(
    model: str = DEFAULT_MODEL,
    task: str = DEFAULT_TASK,
    strategy: str | None = None,
    drop: int | None = None,
    threshold: float | None = None,
    keep: Sequence[int] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Row:
    """Which layers stay and which go, as `pmb plan --json` says it; trains nothing. Raises BadInput.

    `say` is called with each sentence on how a table of the user's own was read, such as `print`.

    >>> import pmb
    >>> pmb.plan(strategy="even-alternate", drop=2)["kept_layers"]
    [0, 1, 2, 4]
    >>> "top" in pmb.plan(keep=[0, 1, 2, 3])["strategy"]
    True
    >>> pmb.plan(strategy="top", drop=6)
    Traceback (most recent call last):
    pmb.errors.BadInput: Drop count 6 is not possible with 'top' on 6 layers: from 0 to 5.
    """
    cut = Cut(model, task, strategy, drop, threshold, keep)
    with opened_store() as (store, found):
        data = find_task(store, found, task)
        say_of_table(store, data, say)
        chosen = chosen_plan(store, found, cut, data, pinned=strategy in SCORED)
        names = strategies_of_plan(store, chosen, data)
    return {
        "model": chosen.model.id,
        "num_hidden_layers": chosen.model.num_hidden_layers,
        "kept_layers": list(chosen.kept_layers),
        "dropped_layers": list(chosen.dropped_layers),
        "strategy": list(names),
    }


def run(
    model: str = DEFAULT_MODEL,
    task: str = DEFAULT_TASK,
    strategy: str | None = None,
    drop: int | None = None,
    threshold: float | None = None,
    keep: Sequence[int] | None = None,
    recipe: str = RUN_RECIPE,
    seed: int = 0,
    procedure: str = PROCEDURES[0],
    tell: Callable[[str], None] = lambda _: None,
    say: Callable[[str], None] | None = None,
) -> Row:
    """Fine-tune a cut, wait for it and give what `pmb run --json` prints; a cached result comes at once.

    `recipe` is the name of one, or a name with changed values such as "full,epochs=8,learning-rate=5e-5"; the values
    that can be changed are epochs, learning-rate, batch-size, train-items, max-length, dropout and class-weights.
    `tell` is called about twice a second with how far the run is, such as `print`; `say` with each sentence on how a
    table was read, and on how many items are longer than the recipe's limit of tokens. Raises BadInput, also where the
    run failed or was cancelled.

    >>> import pmb
    >>> result = pmb.run(strategy="top", drop=2, recipe="full")
    >>> result["cached"], result["kept_layers"], result["metric"], result["train_seconds"] > 0
    (True, [0, 1, 2, 3], 'accuracy', True)
    >>> result["score"] < result["whole_model_score"]
    True
    >>> pmb.run(strategy="top", drop=2, recipe="full,epochs=200")
    Traceback (most recent call last):
    pmb.errors.BadInput: epochs '200' is not allowed; write a whole number from 1 to 100.
    """
    values = ended(Cut(model, task, strategy, drop, threshold, keep), recipe, seed, procedure, tell, say=say)
    check_done(values)
    return values


def results() -> pd.DataFrame:
    """Every finished run as a row, oldest first: the columns of `pmb runs --csv` with times as times, and the depth.

    Scores are shares, 0 to 1; layers are tuples. Without any run the table has no columns either.

    >>> import pmb
    >>> table = pmb.results()
    >>> of_task = table[(table["task"] == "rotten-tomatoes") & (table["recipe"] == "full")]
    >>> of_top = of_task[of_task["kept_layers"] == (0, 1, 2, 3)]
    >>> 0 in of_top["seed"].tolist()
    True
    >>> bool((of_top["score_low"] < of_top["score"]).all())
    True
    """
    import pandas as pd  # half a second that plan, run and the command line need not take

    from pmb.lab.listing import Filter, exported_runs

    with opened_store() as (store, _):
        table = pd.DataFrame(list(exported_runs(store, Filter(states=("done",)))))
    if table.empty:
        return table
    layers = {name: table[name].map(tuple) for name in ("kept_layers", "dropped_layers")}  # can be grouped by
    return table.assign(**layers, depth=table["kept_layers"].map(len))


# =============================================================================
# What the command line has in common with these
# =============================================================================


@contextmanager
def opened_store() -> Iterator[tuple[Store, settings.Settings]]:
    """The store and the settings it was opened by."""
    found = settings.from_environment()
    store = open_store(found, user_of_the_computer())
    try:
        yield store, found
    finally:
        store.close()


def user_of_the_computer() -> str:
    """The name that the system has for who calls; kept with the runs that he starts."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # in a container the number of a user may have no name
        return ""


def chosen_plan(store: Store, found: settings.Settings, cut: Cut, task: Task, pinned: bool = True) -> Plan:
    """The layers that a cut chooses; raises BadInput for too many or too few ways of saying it."""
    model = find_model(store, found, cut.model, pinned)
    if cut.keep is not None:
        if (cut.strategy, cut.drop, cut.threshold) != (None, None, None):
            raise BadInput("--keep names the layers itself; leave out --strategy and --drop, or leave out --keep.")
        return plan_kept(model, cut.keep)
    if cut.threshold is not None:
        if cut.strategy != "contribution" or cut.drop is not None:
            raise BadInput(f"--threshold {cut.threshold} goes with --strategy contribution and without --drop.")
        return plan_threshold(store, found, model, task, cut.threshold)
    if cut.drop is None:
        raise BadInput("Say what to cut: --strategy S --drop K, --drop 0 for the whole model, or --keep 0,1,2.")
    if cut.strategy is None and cut.drop != 0:
        raise BadInput(f"--drop {cut.drop} needs a --strategy: {', '.join(EVERY_STRATEGY)}.")
    return plan_strategy(store, found, model, task, cut.strategy or "top", cut.drop)


def say_of_table(store: Store, task: Task, say: Callable[[str], None]) -> None:
    """Say how a table of the user's own was read, before anything is computed on it."""
    if task.table:
        for note in notes_on(store, task.id):
            say(note)


def ended(
    cut: Cut,
    recipe: str,
    seed: int,
    procedure: str,
    tell: Callable[[str], None],
    warn: Callable[[str], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> Row:
    """Queue one fine-tuning unless its result is there, wait until it ends, and give its answer in whatever state.

    `warn`: for what keeps it from going on; `tell` where there is none. `say`: how a table was read, and how many items
    are longer than the recipe's limit, which is not counted where nobody listens.
    """
    check_recipe(recipe)
    with opened_store() as (store, found):
        task = find_task(store, found, cut.task)
        if say:
            say_of_table(store, task, say)
        chosen = chosen_plan(store, found, cut, task)

        def report(progress: Progress) -> None:
            tell(progress_words(asdict(progress)))

        (spec,) = with_data(store, found, task, lambda data: [spec_of(chosen, data, recipe, seed, procedure)], report)
        if say:
            say_longer(store, found, chosen.model, find_task(store, found, cut.task), [spec], say, report)
        submission = queue.submit(store, [spec])[0]
        if not submission.cached:
            from pmb.lab.waiting import wait_for  # a cached answer needs no worker

            wait_for(store, found, [spec.key], tell, warn)
        return answer(store, spec.key, submission.cached)


def check_done(values: Row) -> None:
    """Raise BadInput where a run has no result."""
    if values["state"] != "done":
        raise BadInput(f"Run {values['run']} {values['state']}: {values['error'] or 'it was cancelled'}")
