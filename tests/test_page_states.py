"""Every page in every state of the store: it opens, says what is true of that state, and no warning is logged."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from sqlalchemy import text
from streamlit.testing.v1 import AppTest

from benchmarks.clicks import fill as fill_with_copies
from pmb.catalog.tasks import TASKS
from pmb.lab import queue
from pmb.lab.dev import save_dev_labels
from pmb.lab.store import Store, damaged_rows, open_store
from pmb.screen.ui import open_stores
from pmb.settings import from_environment
from pmb.spec import Progress
from tests.app import FULL, TOP_2, WHOLE, fill, finish, opened, words
from tests.conftest import spec

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("content_streamlit")]

PAGES = ("explore", "strategies", "tasks", "cost", "layers", "paper", "compare", "try", "runs")
# Names of models and tasks that nobody knows are in test_pages: AppTest does not go on from a box with a new entry.
NONSENSE = {
    "strategy": "nonsense",
    "recipe": "",
    "drop": "99",
    "k": "-1",
    "tasks": "none",
    "a": "x",
    "b": "\x00",
    "view": "7",
    "states": "?",
    "select": "top.2.3,<i>",
    "run": "zzz",
    "find": "%' --",
    "order": "x",
    "part": "99",
    "published": "GPT",
}


def empty(store: Store) -> None:
    """Nothing has run."""


def one_run(store: Store) -> None:
    """The whole model alone, with one seed."""
    finish(store, spec(WHOLE, 0, FULL), 0.8)


def one_seed(store: Store) -> None:
    """Every drop count of top with one seed, and the true labels of dev."""
    fill(store, seeds=1)
    save_dev_labels(store, TASKS["rotten-tomatoes"], [0, 1] * 3000)


def many(store: Store) -> None:
    """Every drop count of top with three seeds, and the true labels of dev."""
    fill(store)
    save_dev_labels(store, TASKS["rotten-tomatoes"], [0, 1] * 3000)


def running(store: Store) -> None:
    """One run goes on and one waits."""
    queue.submit(store, [spec(TOP_2, 0, FULL), spec(WHOLE, 0, FULL)])
    claim = queue.claim(store, "worker")
    assert claim is not None
    queue.renew(store, claim.key, "worker", Progress("training", 120, 250, 0.41, 23.0))


def failed(store: Store) -> None:
    """One run ended without a result."""
    queue.submit(store, [spec(TOP_2, 0, FULL)])
    claim = queue.claim(store, "worker")
    assert claim is not None
    queue.fail(store, claim.key, "worker", "The loss is <b>not</b> a number.", "last line of the log")


def shipped(store: Store) -> None:
    """What comes with the repository."""
    _read_shipped()


def ten_thousand(store: Store) -> None:
    """Copies of the shipped runs with other seeds, ten runs waiting."""
    _read_shipped()
    fill_with_copies(from_environment(), 10_000)


def _read_shipped() -> None:
    open_store(from_environment()).close()


# By state what makes it, and by page what the page says then; a page that is not named has to open and no more.
STATES: dict[str, tuple[Callable[[Store], None], dict[str, str]]] = {
    "empty": (
        empty,
        {
            "explore": "Press Run",
            "strategies": "No strategy has been measured",
            "tasks": "Nothing can be compared yet",
            "cost": "Nothing has been measured for this choice yet",
            "layers": "Not measured yet",
            "paper": "Not yet: MiniLM-L6",
            "compare": "There are not two configurations to compare",
            "try": "No model has been fine-tuned on this task yet",
            "runs": "0 done",
        },
    ),
    "one run": (
        one_run,
        {
            "explore": "This cut has not been measured",
            "tasks": "Nothing can be compared yet",
            "compare": "There are not two configurations to compare",
            "try": "A cannot answer yet",
            "runs": "1 done",
        },
    ),
    "one seed": (
        one_seed,
        {
            "explore": "1 seed",
            "tasks": "1 seed, so no interval",
            "cost": "Dropping 2 of 6 layers",
            "runs": "6 done",
        },
    ),
    "many": (
        many,
        {
            "explore": "Dropping 2 of 6 layers by top keeps 92.5 %",
            "strategies": "With [23] of 6 layers dropped",
            "tasks": "Dropping 2 of 6 layers by top costs 6.0 points",
            "cost": "Dropping 2 of 6 layers",
            "compare": "A and B|A is better than B|No clear difference",
            "runs": "18 done",
        },
    ),
    "running": (
        running,
        {"explore": "This cut has not been measured", "runs": "1 queued, 1 running|1 running, 1 queued|1 running"},
    ),
    "failed": (failed, {"explore": "Press Run", "runs": "The loss is <b>not</b> a number"}),
    "shipped only": (
        shipped,
        {
            "explore": "Dropping 2 of 6 layers by top keeps",
            "strategies": "With [23] of 6 layers dropped",
            "tasks": "Dropping [23] of 6 layers",
            "cost": "saves 16 % of the parameters",
            "layers": "Rotten Tomatoes|layer",
            "paper": "Of the paper's 10 claims|claims",
            "compare": "A is better than B",
            "try": "A and B cannot answer yet",
            "runs": "1[0-9][0-9] done",
        },
    ),
    "10,000 runs": (
        ten_thousand,
        {
            "explore": "Dropping 2 of 6 layers by top keeps",
            "strategies": "With [23] of 6 layers dropped",
            "tasks": "Dropping [23] of 6 layers",
            "cost": "saves 16 % of the parameters",
            "compare": "A is better than B",
            "runs": "10,000 done",
        },
    ),
}


def page_words(app: AppTest, page: str) -> str:
    """Go to a page and read it."""
    app.switch_page(f"pages/{page}_page.py").run()
    assert not app.exception, (page, app.exception)
    return words(app)


@pytest.mark.parametrize("state", STATES)
def test_every_page_says_what_is_true_of_the_store(scored: Store, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make, expected = STATES[state]
    if make in (shipped, ten_thousand):
        monkeypatch.delenv("PMB_SHIPPED")
    make(scored)
    app = opened()
    for page in PAGES:
        said = page_words(app, page)
        assert re.search(expected.get(page, "."), said), (page, said)


def test_nonsense_in_the_address_of_any_page_falls_back_to_something_true(scored: Store) -> None:
    fill(scored)
    app = opened(**NONSENSE)
    for page in PAGES:
        assert page_words(app, page)


def damaged(store: Store) -> None:
    """All that is true of `many`, with one row after another edited by hand."""
    many(store)
    changes = {
        "predictions": "[0, 1",
        "kept_layers": '"0,1"',
        "score": "high",
        "finished_at": 1e300,
        "recipe_values": "{}",
        "state": "finished",
        "model": b"\xff",
    }
    with store.connect() as connection:
        keys = connection.execute(text("SELECT key FROM runs ORDER BY key")).scalars().all()
        for key, (column, value) in zip(keys, changes.items(), strict=False):
            change = f"UPDATE runs SET {column} = :value WHERE key = :key"  # noqa: S608 (names of this test)
            connection.execute(text(change), {"value": value, "key": key})
        connection.execute(text("UPDATE latencies SET ratio = 'fast' WHERE depth = 2"))
        connection.execute(text("UPDATE dev_labels SET labels = '[7]'"))


def test_every_page_leaves_out_rows_that_were_edited_by_hand_and_names_them(scored: Store) -> None:
    damaged(scored)
    app = opened(**NONSENSE)
    assert "Left out, since the store is damaged there: " in words(app)  # by the entry, which AppTest runs once
    assert re.search(r"and \d more. `python -m pmb doctor` looks at every row", words(app))
    for page in PAGES:
        assert page_words(app, page)
    assert len(damaged_rows(open_stores()[0])) >= 6  # what no page reads, such as answers without labels, is doctor's
    assert len(damaged_rows(scored, everything=True)) == 8  # that a label is none of its task's shows where it is used


def test_a_store_in_which_nothing_is_whole_is_an_empty_one_that_says_so(scored: Store) -> None:
    many(scored)
    with scored.connect() as connection:
        connection.execute(text("UPDATE runs SET kept_layers = '[9', predictions = 'no', versions = '7'"))
        connection.execute(text("UPDATE latencies SET ratio = 0"))
    app = opened()
    assert re.search(r"and \d\d more", words(app))
    for page in PAGES:
        said = page_words(app, page)
        assert page == "runs" or re.search(STATES["empty"][1][page], said), (page, said)
