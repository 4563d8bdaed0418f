"""Searches in the store: stepped without a worker, stopped, gone on with, spent; by command and on a page."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from pmb.catalog.models import MODELS, cuts_by
from pmb.catalog.recipes import RECIPES
from pmb.catalog.tasks import TASKS
from pmb.cli import cli
from pmb.errors import BadInput, NotAllowed, RunFailed
from pmb.lab import previews, queue, searches
from pmb.lab.dev import save_dev_labels
from pmb.lab.previews import Previews, save_preview
from pmb.lab.searches import Aim, Limit
from pmb.lab.store import Store, damaged_rows, get_run, list_runs, save_latencies
from pmb.settings import Settings
from pmb.spec import Latency, RunSpec
from pmb.strategies import STRATEGIES
from tests.app import click, opened, rerun, words
from tests.conftest import result, spec

pytestmark = pytest.mark.slow

MODEL, TASK = MODELS["minilm-l6"], TASKS["rotten-tomatoes"]
SENTENCES = 1500
LABELS = tuple(int(label) for label in np.random.default_rng(0).integers(0, 2, SENTENCES))
HARDNESS = np.random.default_rng(1).random(SENTENCES)
WHOLE = [0, 1, 2, 3, 4, 5]


def accuracy(kept: list[int]) -> float:
    """Down to three layers nothing is lost; below, very much."""
    return 0.9 if len(kept) >= 3 else 0.6


def finish_next(
    store: Store, seed_matters: float = 0.003, fails: Callable[[RunSpec], bool] = lambda spec: False
) -> bool:
    """Do the longest-waiting run, as a worker would, with made-up answers, or fail it."""
    claim = queue.claim(store, "worker")
    if claim is None:
        return False
    if fails(claim.spec):
        queue.fail(store, claim.key, "worker", "The loss is not a number.", "")
        return True
    rng = np.random.default_rng(int(claim.key[:8], 16))
    share = accuracy(list(claim.spec.kept_layers)) + seed_matters * rng.standard_normal()
    right = np.where(rng.random(SENTENCES) < 0.05, rng.random(SENTENCES), HARDNESS) < share
    answers = tuple(int(a) for a in np.where(right, LABELS, 1 - np.array(LABELS)))
    ended = replace(result(float(right.mean())), predictions=answers)
    queue.finish(store, claim.key, "worker", ended)
    return True


@pytest.fixture
def prepared(scored: Store) -> Store:
    """A store that knows the contribution scores and the dev labels, so that nothing asks a child."""
    save_dev_labels(scored, TASK, LABELS)
    return scored


def started(store: Store, settings: Settings, aim: Aim | None = None, runs: float = 60, **more: Any) -> str:
    limit = Limit(runs=runs)
    return searches.start(store, settings, MODEL, TASK, "standard", aim or Aim(within=3), limit, **more)


def go(store: Store, key: str, most: int = 200) -> dict[str, Any]:
    for _ in range(most):
        searches.step_open(store, 2)
        if not finish_next(store):
            break
    return searches.answer(store, key)


def test_a_search_goes_by_itself_to_its_verdict_and_asks_for_each_run_once(prepared: Store, settings: Settings) -> None:
    key = started(prepared, settings)
    found = go(prepared, key)
    assert (found["state"], found["verdict"], len(found["answer"])) == ("done", "sure", 3)
    rows = list_runs(prepared)
    assert found["runs"] == len(rows) < 60
    assert rows[0]["kept_layers"] == WHOLE
    assert found["sentence"].startswith("Sure at 95 %: the smallest within 3 points is layers")
    assert searches.waiting_line(prepared, key) is None
    assert not finish_next(prepared)


def test_a_search_that_was_stopped_goes_on_where_it_was(prepared: Store, settings: Settings) -> None:
    key = started(prepared, settings)
    for _ in range(4):
        searches.step_open(prepared, 2)
        assert finish_next(prepared)
    searches.step_open(prepared, 2)
    searches.stop(prepared, key)
    assert {row["state"] for row in list_runs(prepared)} == {"done", "cancelled"}
    searches.step_open(prepared, 2)
    assert not finish_next(prepared)  # a stopped search asks for nothing
    assert searches.answer(prepared, key)["state"] == "stopped"
    searches.go_on(prepared, key)
    found = go(prepared, key)
    assert (found["state"], found["verdict"]) == ("done", "sure")
    assert all(row["attempts"] == 1 for row in list_runs(prepared, "done"))


def test_the_same_search_started_again_is_one_and_a_greater_budget_goes_on(prepared: Store, settings: Settings) -> None:
    key = started(prepared, settings, runs=4)
    found = go(prepared, key)
    assert (found["state"], found["verdict"], found["runs"]) == ("done", "budget spent", 4)
    assert found["sentence"].startswith("The budget is spent")
    assert started(prepared, settings, runs=6) == key
    found = go(prepared, key)
    assert (found["verdict"], found["runs"]) == ("budget spent", 6)


def test_minutes_are_counted_by_what_runs_have_taken_here(prepared: Store, settings: Settings) -> None:
    limit = Limit(minutes=0.05)
    key = searches.start(prepared, settings, MODEL, TASK, "standard", Aim(within=3), limit)
    searches.step_open(prepared, 2)  # nothing has run here: the first runs tell how long one takes
    assert finish_next(prepared)
    found = go(prepared, key)
    # The first said that a run takes 12 s, which two at a time make 6; of one layer less, that is more than 3 s still.
    assert (found["verdict"], found["runs"]) == ("budget spent", 2)


def test_runs_that_are_there_already_cost_nothing(prepared: Store, settings: Settings) -> None:
    key = started(prepared, settings)
    go(prepared, key)
    other = started(prepared, settings, Aim(within=2.9), runs=1)
    found = go(prepared, other)
    assert found["runs"] <= 1
    assert found["answer"] is not None


def test_a_run_that_fails_leaves_its_cut_out(prepared: Store, settings: Settings) -> None:
    key = started(prepared, settings)
    searches.step_open(prepared, 2)
    assert finish_next(prepared)  # the whole model
    claim = queue.claim(prepared, "worker")
    assert claim is not None
    queue.fail(prepared, claim.key, "worker", "The loss is not a number.", "")
    found = go(prepared, key)
    failed = [one["cut"] for one in found["standings"] if one["state"] == "failed"]
    assert failed == [list(claim.spec.kept_layers)]
    assert found["state"] == "done"
    row = get_run(prepared, claim.key)
    assert row is not None
    assert (row["state"], row["attempts"]) == ("failed", 1)  # not asked for again


def test_a_whole_model_that_fails_with_few_epochs_alone_ends_the_few_epochs_and_not_the_search(
    prepared: Store, settings: Settings
) -> None:
    def few_and_whole(one: RunSpec) -> bool:
        return one.recipe.epochs < RECIPES["stable"].epochs and list(one.kept_layers) == WHOLE

    key = searches.start(prepared, settings, MODEL, TASK, "stable", Aim(within=3), Limit(runs=8))
    for _ in range(60):
        searches.step_open(prepared, 2)
        if not finish_next(prepared, fails=few_and_whole):
            break
    (failed,) = list_runs(prepared, "failed")
    assert (failed["kept_layers"], failed["attempts"]) == (WHOLE, 1)  # not asked for again
    found = searches.answer(prepared, key)
    assert found["state"] == "done"
    assert found["verdict"] in ("sure", "budget spent")
    assert len(found["answer"]) < len(WHOLE)


def test_without_a_whole_model_it_ends_with_the_reason_and_goes_on_when_there_is_one(
    prepared: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = started(prepared, settings)
    searches.step_open(prepared, 2)
    claim = queue.claim(prepared, "worker")
    assert claim is not None
    queue.fail(prepared, claim.key, "worker", "The memory is too small.", "")
    searches.step_open(prepared, 2)
    found = searches.answer(prepared, key)
    assert (found["state"], found["verdict"], found["runs"]) == ("done", "failed", 1)
    assert found["error"] == f"Run {claim.key[:12]} failed: The memory is too small."
    monkeypatch.setattr(previews, "preview", lambda *given, report: None)  # without torch
    monkeypatch.setattr("pmb.lab.waiting.work", lambda store, *_: searches.step_open(store, 2))
    with pytest.raises(BadInput, match="The memory is too small"):
        cli.main(["search", "--recipe", "standard", "--within", "3"], standalone_mode=False)
    queue.retry(prepared, [claim.key])
    assert started(prepared, settings) == key
    assert go(prepared, key)["verdict"] == "sure"


def test_a_run_of_it_that_is_cancelled_stops_it_with_a_reason(prepared: Store, settings: Settings) -> None:
    key = started(prepared, settings)
    searches.step_open(prepared, 2)
    (first, *_) = list_runs(prepared, "queued")
    queue.cancel(prepared, [first["key"]])
    searches.step_open(prepared, 2)
    found = searches.answer(prepared, key)
    assert found["state"] == "stopped"
    assert f"Run {first['key'][:12]} was cancelled" in found["error"]


def test_a_full_queue_stops_it_with_a_reason(prepared: Store, settings: Settings) -> None:
    key = started(prepared, settings)
    searches.step_open(replace(prepared, most_waiting=0), 2)
    found = searches.answer(prepared, key)
    assert (found["state"], "at most 0 may wait" in found["error"]) == ("stopped", True)


def test_a_speed_or_a_size_becomes_a_number_of_layers(prepared: Store, settings: Settings) -> None:
    def most(aim: Aim) -> int:
        row = searches.get_search(prepared, started(prepared, settings, aim))
        assert row is not None
        return int(row["goal"]["most_layers"])

    assert most(Aim(speedup=2)) == 3  # in proportion to depth, before anything is timed
    save_latencies(prepared, spec(), [Latency(3, 32, 32, "cpu", 1.8, 1.7, 1.9, 9, 0.6, 0.3)])
    assert most(Aim(speedup=2)) == 2
    assert most(Aim(megabytes=70)) == 3
    with pytest.raises(BadInput, match="No cut is 50 times as fast: one layer is 6.0 times"):
        most(Aim(speedup=50))
    with pytest.raises(BadInput, match="one layer leaves 5. MB"):
        most(Aim(megabytes=1))
    key = started(prepared, settings, Aim(speedup=2))
    found = go(prepared, key)
    assert all(len(one["cut"]) <= 2 for one in found["standings"])


CUTS = cuts_by(MODEL, STRATEGIES, [0.2, 0.9, 0.8, 0.7, 0.6, 0.3])


def foreseen(store: Store) -> None:
    """Previews of all cuts, which follow what fine-tuning gives, but for a little."""
    for kept in CUTS:
        score = 0.7 * accuracy(list(kept)) + 0.002 * (sum(kept) % 3)
        save_preview(store, MODEL, TASK, {"kept": kept, "score": score, "computed_on": "cpu"})


def test_previews_leave_out_cuts_once_enough_is_measured_to_calibrate_them(prepared: Store, settings: Settings) -> None:
    before = [WHOLE, [1, 2, 3, 4, 5], [0, 1, 2, 3, 4], [2, 3, 4, 5], [0, 1, 2, 3], [0, 1, 2], [3, 4, 5], [0, 1], [4, 5]]
    standard = RECIPES["standard"]
    queue.submit(prepared, [spec(tuple(kept), 0, standard) for kept in before])
    while finish_next(prepared):
        pass
    key = started(prepared, settings)
    searches.step(prepared, key, 2)
    assert "left out by preview" not in searches.sentence(prepared, key)  # nothing was previewed yet
    foreseen(prepared)
    assert not previews.missing_previews(prepared, MODEL, TASK, STRATEGIES)
    searches.stop(prepared, key)
    searches.go_on(prepared, key)
    found = go(prepared, key)
    assert (found["verdict"], len(found["answer"])) == ("sure", 3)
    left_out = [tuple(one["cut"]) for one in found["standings"] if one["state"] == "foretold beyond"]
    assert f"{len(left_out)} left out by preview alone" in found["sentence"]
    assert len(left_out) >= 3
    assert max(map(len, left_out)) < 3
    assert not {tuple(run["kept_layers"]) for run in list_runs(prepared, "done")} & set(left_out)


def test_a_damaged_search_is_left_out_told_and_may_begin_anew(prepared: Store, settings: Settings) -> None:
    key = started(prepared, settings)
    for column, value in (("goal", '{"within": -1}'), ("candidates", "[[9]]"), ("budget", "{}"), ("asked", "7")):
        with prepared.connect() as connection:
            connection.execute(text(f"UPDATE searches SET {column} = :value"), {"value": value})  # noqa: S608
        searches.step_open(prepared, 2)
        assert searches.get_search(prepared, key) is None
        assert searches.searches_of(prepared, MODEL, TASK, "standard") == []
        assert damaged_rows(prepared)[0].startswith(f"search {key[:12]} (")
        assert started(prepared, settings) == key
        assert damaged_rows(prepared) == []
        assert searches.get_search(prepared, key) is not None


def test_a_run_with_answers_to_other_examples_counts_as_none(prepared: Store, settings: Settings) -> None:
    queue.submit(prepared, [spec(tuple(WHOLE), 0, RECIPES["standard"])])
    claim = queue.claim(prepared, "worker")
    assert claim is not None
    queue.finish(prepared, claim.key, "worker", result())  # of 2,000 examples
    key = started(prepared, settings)
    searches.step(prepared, key, 2)
    assert searches.answer(prepared, key)["answer"] is None


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Aim(), "one goal"),
        (lambda: Aim(within=1, speedup=2), "one goal"),
        (lambda: Aim(within=0), "Goal 0 cannot"),
        (lambda: Aim(within=float("nan")), "Goal nan cannot"),
        (lambda: Limit(), "one budget"),
        (lambda: Limit(runs=-1), "Budget -1 buys nothing"),
    ],
)
def test_a_goal_and_a_budget_are_one_thing_each(make: Any, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        make()


def test_who_may_only_look_starts_and_stops_nothing(prepared: Store, settings: Settings) -> None:
    key = started(prepared, settings)
    reader = prepared.reader("You may look.")
    for act in (
        lambda: started(reader, settings),
        lambda: searches.stop(reader, key),
        lambda: searches.go_on(reader, key),
    ):
        with pytest.raises(NotAllowed, match="You may look"):
            act()
    assert searches.waiting_line(reader, key) == "0 runs done, choosing what to measure"
    reader.close()


@pytest.mark.usefixtures("content_streamlit")
def test_explore_starts_shows_stops_and_goes_on(prepared: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(Previews, "start", lambda self, *given: asked.append(given[2:]))  # which would start a child
    app = opened(recipe="standard")
    click(app, "search")
    assert [(model.id, task.id) for model, task, _ in asked] == [(MODEL.id, TASK.id)]  # what is missing is computed
    (row,) = searches.searches_of(prepared, MODEL, TASK, "standard")
    assert (row["state"], row["goal"]["within"], row["budget"]) == ("open", 1.0, {"runs": 12})
    searches.step_open(prepared, 2)
    finish_next(prepared)
    finish_next(prepared)
    searches.step_open(prepared, 2)
    rerun(app)
    assert "So far the smallest within 1 point seems to be" in words(app)
    assert "2 runs done for it, of at most 12; measuring layers" in words(app)
    click(app, f"stop_{row['key'][:12]}")
    assert searches.answer(prepared, row["key"])["state"] == "stopped"
    click(app, f"go_on_{row['key'][:12]}")
    assert searches.answer(prepared, row["key"])["state"] == "open"


@pytest.mark.usefixtures("content_streamlit")
def test_who_may_only_look_sees_searches_and_no_buttons(
    prepared: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = started(prepared, settings, runs=4)
    go(prepared, key)
    monkeypatch.setenv("PMB_READ_ONLY", "1")
    app = opened(recipe="standard")
    assert "The budget is spent" in words(app)
    assert not {button.key for button in app.button} & {"search", f"go_on_{key[:12]}"}


def test_by_command_it_says_what_it_knows_and_prints_one_object(
    prepared: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    key = started(prepared, settings, runs=4)
    go(prepared, key)
    command = ["search", "--recipe", "standard", "--within", "3", "--budget-runs", "4", "--json"]
    asked: list[Any] = []
    monkeypatch.setattr(previews, "preview", lambda *given, report: asked.append(given[2:]))  # without torch
    monkeypatch.setattr("pmb.lab.waiting.work", lambda store, *_: go(store, key))  # without torch
    cli.main(command, standalone_mode=False)
    printed = json.loads(capsys.readouterr().out)
    assert (printed["search"], printed["verdict"], printed["state"]) == (key[:12], "budget spent", "done")
    assert asked == [(MODEL, TASK, STRATEGIES)]

    def broken(*_: Any, report: Any) -> None:
        raise RunFailed("The layers cannot be told apart.")

    monkeypatch.setattr(previews, "preview", broken)
    cli.main([part for part in command if part != "--json"], standalone_mode=False)
    said = capsys.readouterr()
    assert "The budget is spent" in said.out
    assert said.err.startswith("No previews: The layers cannot be told apart.")
    with pytest.raises(BadInput, match="one goal"):
        cli.main(["search", "--within", "1", "--speedup", "2"], standalone_mode=False)
