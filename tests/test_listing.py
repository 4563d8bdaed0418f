"""The runs table for people: filters, orders and files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event

from pmb.catalog.models import MODELS
from pmb.catalog.tasks import TASKS
from pmb.insight.failures import OTHERWISE, next_step
from pmb.lab import queue
from pmb.lab.listing import (
    Filter,
    count_by_kind,
    count_live,
    count_runs,
    count_states,
    defused,
    exported_runs,
    list_keys,
    live_runs,
    live_runs_of,
    runs_in_order,
    waiting_by_work,
    waiting_since,
    write_csv,
)
from pmb.lab.results import finished_runs, measured_configurations
from pmb.lab.store import Store
from tests.conftest import result, spec

pytestmark = pytest.mark.both_databases


@pytest.fixture
def some(store: Store) -> Store:
    """Done: seeds 0 to 2 of the cut 0,1 with rising scores; failed: one of the cut 0; waiting: one of 0,1,2."""
    for seed in range(3):
        queue.submit(store, [spec((0, 1), seed)])
        claim = queue.claim(store, "worker")
        assert claim is not None
        queue.finish(store, claim.key, "worker", result(0.70 + 0.01 * seed))
    queue.submit(store, [spec((0,), 5)])
    claim = queue.claim(store, "worker")
    assert claim is not None
    queue.fail(store, claim.key, "worker", "100 % of the memory_is gone.", "")
    queue.submit(store, [spec((0, 1, 2), 6)])
    return store


@pytest.mark.parametrize(
    ("chosen", "seeds"),
    [
        (Filter(), [6, 5, 2, 1, 0]),
        (Filter(states=("failed", "queued")), [6, 5]),
        (Filter(depths=(2,)), [2, 1, 0]),
        (Filter(words="0,1"), [2, 1, 0]),
        (Filter(words="0, 1, 2"), [6]),
        (Filter(words="MEMORY minilm"), [5]),
        (Filter(words="memory absent"), []),
        (Filter(words="%"), [5]),  # as it is, no wildcard
        (Filter(words="y_i"), [5]),
        (Filter(words="___"), []),
        (Filter(models=("other",)), []),
        (Filter(sources=("measured",), recipes=("tiny",), tasks=("rotten-tomatoes",)), [6, 5, 2, 1, 0]),
        (Filter(words=str(2**80)), []),
    ],
)
def test_a_filter_leaves_the_runs_that_it_means_newest_first(some: Store, chosen: Filter, seeds: list[int]) -> None:
    found = runs_in_order(some, list_keys(some, chosen))
    assert [row["seed"] for row in found] == seeds
    assert count_runs(some, chosen) == len(seeds)


def test_a_run_is_found_by_its_first_characters_and_by_its_seed(some: Store) -> None:
    key = spec((0,), 5).key
    assert key in list_keys(some, Filter(words=key[:12]))
    assert key in list_keys(some, Filter(words="5"))


def test_runs_are_ordered_and_paged_by_the_database(some: Store) -> None:
    best = runs_in_order(some, list_keys(some, Filter(), "best score", 2, 1))
    assert [row["seed"] for row in best] == [1, 0]
    slowest = runs_in_order(some, list_keys(some, Filter(), "slowest"))
    assert slowest[-1]["state"] == "queued"


def test_counts_differ_whenever_a_run_changes_its_state(some: Store) -> None:
    seen = [count_states(some)]
    assert [(state, count) for state, count, _ in seen[0]] == [("done", 3), ("failed", 1), ("queued", 1)]
    queue.claim(some, "worker")
    seen.append(count_states(some))
    queue.retry(some, [spec((0,), 5).key])
    seen.append(count_states(some))
    queue.cancel(some, [spec((0,), 5).key])
    seen.append(count_states(some))
    assert len({str(one) for one in seen}) == 4
    kinds = {(kind["state"], kind["depth"]): kind["count"] for kind in count_by_kind(some)}
    assert kinds == {("done", 2): 3, ("cancelled", 1): 1, ("running", 3): 1}


def test_the_queue_is_read_in_its_order_as_far_as_is_asked(store: Store) -> None:
    asked = [spec((0, 1), 0), spec((0,), 1), spec((0, 1), 2), spec((0, 1, 2), 3), spec((0, 1), 4)]
    keys = [submission.key for submission in queue.submit(store, asked)]
    claimed = [queue.claim(store, "worker") for _ in range(3)]
    assert all(claimed)
    queue.fail(store, keys[0], "worker", "It broke.", "")
    queue.retry(store, keys[:1])  # behind all that wait
    assert [row["key"] for row in live_runs(store, 2)] == [*keys[1:3], *keys[3:]]
    assert [row["key"] for row in live_runs(store, 100)] == [*keys[1:], keys[0]]
    assert count_live(store) == (2, 3)
    assert waiting_since(store) == [row["queued_at"] for row in live_runs(store, 100) if row["state"] == "queued"]
    of_cuts = live_runs_of(store, asked[0].model, asked[0].task, [(0, 1), (0, 1, 2)])
    assert [row["key"] for row in of_cuts] == [*keys[2:], keys[0]]
    assert not live_runs_of(store, asked[0].model, "mrpc", [(0, 1)])
    work = waiting_by_work(store)
    assert sorted((kind["kept_layers"], kind["count"]) for kind in work) == [([0, 1], 2), ([0, 1, 2], 1)]
    assert all(kind["recipe_values"] == asked[0].recipe.to_dict() for kind in work)


@pytest.mark.only_sqlite
def test_a_page_reads_its_own_runs_and_no_others(some: Store) -> None:
    """By SQLite's plans: an index finds what is asked for, and what of the queue is read, in its order."""
    asked: list[tuple[str, Any]] = []

    def keep(_connection: object, _cursor: object, statement: str, values: Any, *_: object) -> None:
        asked.append((statement, values))

    def plan_of(ask: Callable[[], object]) -> list[str]:
        asked.clear()
        event.listen(some.engine, "before_cursor_execute", keep)
        ask()
        event.remove(some.engine, "before_cursor_execute", keep)
        with some.connect() as connection:
            plans = [connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values).all() for sql, values in asked[:]]
        return [step[3] for plan in plans for step in plan if "runs" in step[3] or "ORDER BY" in step[3]]

    model, task = MODELS["minilm-l6"], TASKS["rotten-tomatoes"]
    in_order = ["SEARCH runs USING INDEX runs_by_state (state=?)", "USE TEMP B-TREE FOR RIGHT PART OF ORDER BY"]
    assert plan_of(lambda: live_runs(some, 100)) == 2 * in_order
    assert plan_of(lambda: waiting_since(some)) == ["SEARCH runs USING COVERING INDEX runs_by_state (state=?)"]
    by_task = "SEARCH runs USING INDEX runs_by_task (task=? AND state=? AND model=?)"
    assert plan_of(lambda: live_runs_of(some, model.id, task.id, [(0, 1)])) == [by_task]
    assert plan_of(lambda: finished_runs(some, model, task, "quick")) == [by_task]
    (of_all_models,) = plan_of(lambda: measured_configurations(some, task))
    assert of_all_models == "SEARCH runs USING INDEX runs_by_task (task=? AND state=?)"


def test_a_file_holds_times_layers_and_intervals_oldest_first(some: Store) -> None:
    file = io.StringIO()
    write_csv(exported_runs(some, Filter()), file)
    rows = list(csv.DictReader(io.StringIO(file.getvalue())))
    assert [row["seed"] for row in rows] == ["0", "1", "2", "5", "6"]
    first, failed = rows[0], rows[3]
    assert json.loads(first["kept_layers"]) == [0, 1]
    assert json.loads(first["dropped_layers"]) == [2, 3, 4, 5]
    assert (float(first["score_low"]), float(first["score_high"])) == pytest.approx((0.68, 0.72))
    assert first["queued_at"].endswith("+00:00")
    assert float(first["seconds"]) >= 0
    assert (failed["score"], failed["error"]) == ("", "100 % of the memory_is gone.")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx"])
def test_a_text_that_begins_like_a_formula_is_defused(text: str) -> None:
    assert defused(text) == "'" + text
    assert defused("a" + text) == "a" + text


def test_numbers_in_a_file_stay_numbers() -> None:
    file = io.StringIO()
    write_csv([{"number": -1.5, "text": "-1.5", "list": [-1]}], file)
    assert file.getvalue() == "number,text,list\n-1.5,'-1.5,[-1]\n"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("The process of this run, or its worker, died 5 times; perhaps it ran out of memory.", "PMB_JOBS=1"),
        ("The loss is not a number after step 3.", "another recipe"),
        ("The Hub cannot be reached for a/b.", "network"),
        ("mine.csv row 7: label 'x' is none of a, b.", "Mend the table"),
        ("Something else.", OTHERWISE),
    ],
)
def test_a_failure_has_a_next_step(error: str, said: str) -> None:
    assert said in next_step(error)
