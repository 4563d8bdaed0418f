"""The Runs page, one run in full, the sidebar with its toasts, the glossary and the first visit."""

from __future__ import annotations

import io

import pandas as pd
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from pmb.lab import queue
from pmb.lab.listing import Filter
from pmb.lab.schema import runs
from pmb.lab.store import Store, list_runs
from pmb.screen import guide, ui
from pmb.screen.run_files import as_csv, as_parquet
from pmb.spec import Progress
from tests.app import FULL, TOP_2, WHOLE, bars, click, fill, finish, opened, rerun, words
from tests.conftest import spec

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("content_streamlit")]


def test_runs_shows_the_queue_with_positions_and_failures_with_their_log(scored: Store) -> None:
    queue.submit(scored, [spec(seed=s) for s in range(4)])
    claim = queue.claim(scored, "worker")
    assert claim is not None
    queue.fail(scored, claim.key, "worker", "The loss became <b>nan</b>.", "last <i>lines</i>")
    queue.claim(scored, "worker")
    app = opened("runs")
    said = words(app)
    assert "1 queued" not in said
    assert "2 queued, 1 running, 0 done, 1 failed" in said
    assert "waiting, next in the queue" in said
    assert "waiting, 1 before it" in said
    assert "The loss became <b>nan</b>." in [text.value for text in app.text]
    assert "last <i>lines</i>" in [code.value for code in app.code]
    app.button(key=f"retry-{claim.key}").click().run()
    assert not app.exception
    assert {row["key"]: row["state"] for row in list_runs(scored)}[claim.key] == "queued"


def test_ten_thousand_runs_are_listed(scored: Store) -> None:
    finish(scored, spec(TOP_2, 0, FULL), 0.8)
    one = list_runs(scored)[0]
    with scored.connect() as connection:
        connection.execute(runs.delete())
        connection.execute(runs.insert(), [one | {"key": f"{i:064d}", "seed": i} for i in range(10_000)])
    app = opened("runs", part="3")
    assert "10,000 done" in words(app)
    assert "10,000 runs, newest first" in words(app)
    assert len(app.dataframe[0].value) == 100
    assert "10000 seeds" in words(opened())


def test_a_long_queue_is_counted_whole_and_read_in_part(scored: Store) -> None:
    fill(scored, seeds=1)
    queue.submit(scored, [spec(TOP_2, seed, FULL) for seed in range(50, 180)])
    queue.claim(scored, "worker")
    app = opened("runs", states="queued")
    assert len(app.session_state["live"]) == 1 + ui.MOST_WAITING
    said = words(app)
    assert "**1 running, 129 waiting**" in said
    assert "1 of 130: MiniLM-L6" in said
    assert "and 118 more: choose the state 'queued' below." in said
    assert "All 130 take about" in said
    (table,) = (frame.value for frame in app.dataframe)
    assert table["place"].tolist() == [*range(130, 30, -1)]  # the newest first, a page of them


def test_without_a_worker_a_waiting_run_says_how_to_start_one(scored: Store) -> None:
    queue.submit(scored, [spec()])
    assert "python -m pmb worker" in words(opened())


def fail_one(store: Store, error: str) -> str:
    queue.submit(store, [spec(TOP_2, 7, FULL)])
    claim = queue.claim(store, "worker")
    assert claim is not None
    queue.fail(store, claim.key, "worker", error, "first\nsecond\nthird\nlast")
    return claim.key


def select_rows(app: AppTest, rows: list[int]) -> None:
    """As the browser would; the table's key is that of the rows it shows."""
    key = app.dataframe[0].proto.id.rpartition("-runs-")[2]
    app.session_state[f"runs-{key}"] = {"selection": {"rows": rows}}
    rerun(app)


def test_the_address_filters_the_table_and_nonsense_in_it_filters_nothing(scored: Store) -> None:
    fill(scored, seeds=1)
    key = fail_one(scored, "The disk is full.")
    app = opened("runs", states="failed", find="disk")
    assert list(app.dataframe[0].value["run"]) == [key[:12]]
    assert "1 of 7 runs" in words(app)
    assert "No run is like that" in words(opened("runs", states="failed", find="'; DROP TABLE runs"))
    app = opened("runs", states="x", part="99", depths="x", order="x", of_tasks="x")
    assert len(app.dataframe[0].value) == 7


def test_selected_runs_are_cancelled_and_retried_together_and_only_where_that_can_be(scored: Store) -> None:
    finish(scored, spec(WHOLE, 0, FULL), 0.8)
    queue.submit(scored, [spec(TOP_2, seed, FULL) for seed in range(3)])
    app = opened("runs")
    select_rows(app, [0, 1, 3, 99])  # the newest two, the finished one, and a row that is not there
    assert app.button(key="cancel_selected").label == "Cancel 2 runs"
    click(app, "cancel_selected")
    assert {row["seed"]: row["state"] for row in list_runs(scored, "queued", "cancelled")} == {
        0: "queued",
        1: "cancelled",
        2: "cancelled",
    }
    select_rows(app, [0])
    assert app.button(key="retry_selected").label == "Retry 1 run"
    click(app, "retry_selected")
    assert len(list_runs(scored, "queued")) == 2


def test_what_is_selected_stays_selected_when_another_run_comes_before_it(scored: Store) -> None:
    queue.submit(scored, [spec(TOP_2, 0, FULL)])
    app = opened("runs")
    select_rows(app, [0])
    queue.submit(scored, [spec(TOP_2, 1, FULL)])
    rerun(app)
    click(app, "cancel_selected")
    assert [row["seed"] for row in list_runs(scored, "cancelled")] == [0]


def test_a_link_shows_one_run_in_full_and_a_wrong_one_is_one_sentence(scored: Store) -> None:
    finish(scored, spec(WHOLE, 0, FULL), 0.8)
    finish(scored, spec(TOP_2, 0, FULL), 0.75)
    app = opened("runs", run=spec(TOP_2, 0, FULL).key[:12])
    said = words(app)
    assert "Accuracy 75.0 %" in said
    assert "73.0 to 77.0; the whole model has 80.0 %" in said
    commands = [code.value for code in app.code]
    assert "python -m pmb run --model minilm-l6 --task rotten-tomatoes --keep 0,1,2,3 --recipe full --seed 0" in (
        commands
    )
    app = opened("runs", run="*no*")
    assert [warning.value for warning in app.warning] == [
        "No single run here begins with '\\*no\\*'; the table below lists them all."
    ]


def test_a_failure_says_what_to_do_and_shows_the_last_lines_of_its_log(scored: Store) -> None:
    key = fail_one(scored, "The loss is not a number after step 3.")
    app = opened("runs", run=key[:12])
    assert "choose another recipe" in words(app)
    assert "second\nthird\nlast" in [code.value for code in app.code]
    assert "first\nsecond\nthird\nlast" in [code.value for code in app.code]


def test_the_sidebar_says_place_progress_and_time_left_and_how_long_the_queue_takes(scored: Store) -> None:
    finish(scored, spec(TOP_2, 0, FULL), 0.8)
    with scored.connect() as connection:  # it took a minute
        connection.execute(runs.update().values(started_at=1000.0, finished_at=1060.0))
    queue.submit(scored, [spec(TOP_2, seed, FULL) for seed in (1, 2, 3)])
    claim = queue.claim(scored, "worker")
    assert claim is not None
    queue.renew(scored, claim.key, "worker", Progress("training", 250, 500, 0.5, 30.0))
    app = opened("cost")
    beside = "\n".join(str(caption.value) for caption in app.sidebar.get("caption"))  # type: ignore[union-attr]
    assert "1 of 3: MiniLM-L6, kept 0 1 2 3, seed 1" in beside
    assert "2 of 3: MiniLM-L6, kept 0 1 2 3, seed 2, waiting" in beside
    assert "0:30 left" in next(iter(bars(app.sidebar)))
    assert "All of it takes about 3 min more here." in beside  # two and a half of them are left


def test_a_run_that_ends_says_so_with_the_way_to_it(scored: Store) -> None:
    finish(scored, spec(WHOLE, 0, FULL), 0.8)
    queue.submit(scored, [spec(TOP_2, seed, FULL) for seed in (1, 2)])
    app = opened("cost")
    finish(scored, spec(TOP_2, 1, FULL), 0.75)
    claim = queue.claim(scored, "worker")
    assert claim is not None
    queue.fail(scored, claim.key, "worker", "No.", "")
    rerun(app)
    names = [spec(TOP_2, seed, FULL).key[:12] for seed in (1, 2)]
    assert {toast.value for toast in app.toast} == {
        f"[Run {names[0]} is done: 75.0 %](runs?run={names[0]})",
        f"[Run {names[1]} failed; its page says why](runs?run={names[1]})",
    }


def test_files_of_the_runs_hold_all_columns_and_no_formula(scored: Store) -> None:
    finish(scored, spec(TOP_2, 0, FULL), 0.75)
    fail_one(scored, "=1+1")
    table = pd.read_csv(io.StringIO(as_csv(scored, Filter())))
    assert list(table["error"])[1] == "'=1+1"
    typed = pd.read_parquet(io.BytesIO(as_parquet(scored, Filter(states=("done",)))))
    assert list(typed["score"]) == [0.75]
    assert [list(layers) for layers in typed["dropped_layers"]] == [[4, 5]]
    assert list(table.columns) == list(typed.columns)


def test_the_first_visit_has_four_steps_and_does_not_come_back(scored: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    app = opened()
    for step in range(1, 4):
        assert f"{step} of 4" in words(app)
        click(app, "tour_next")
    assert "4 of 4" in words(app)
    click(app, "tour_leave")
    assert "of 4]" not in words(app)
    assert "of 4]" not in words(opened(k="3"))  # a link
    monkeypatch.setattr(type(st.context), "cookies", property(lambda _: {guide.COOKIE: "1"}))
    app = opened()
    assert "of 4]" not in words(app)
    click(app, "words")
    assert "**contribution**: The K layers go whose output" in words(app)
    click(app, "tour_again")
    assert "1 of 4" in words(app)
