"""Every page in every state, by Streamlit's own AppTest; warnings that Streamlit logs count as errors."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from pmb.catalog.models import MODELS
from pmb.catalog.tasks import PAPER_AVERAGE, TASKS
from pmb.errors import StoreUnavailable
from pmb.lab import listing, queue
from pmb.lab.dev import save_dev_labels
from pmb.lab.plan import plan_kept, spec_of
from pmb.lab.store import Row, Store, list_runs
from pmb.settings import Settings
from pmb.spec import Progress, Score
from tests.app import FULL, TOP_2, WHOLE, bars, click, fill, finish, finish_task, opened, rerun, words
from tests.conftest import result, spec

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("content_streamlit")]


def test_an_empty_store_says_what_to_do(scored: Store) -> None:
    app = opened()
    assert "Press Run" in words(app)
    assert "Nothing has been measured" in words(app)
    assert "Nothing runs" in words(opened("runs"))


def test_shipped_results_fill_the_first_screen(scored: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PMB_SHIPPED")
    said = words(opened())
    assert "Dropping 2 of 6 layers by top keeps" in said
    assert "came with the lab" in said


def test_the_answer_and_both_charts_come_from_the_store(scored: Store) -> None:
    fill(scored)
    app = opened()
    assert "Dropping 2 of 6 layers by top keeps 92.5 % of the accuracy" in words(app)
    assert "answers 1.50 times as fast" in words(app)
    assert [metric.value for metric in app.metric] == ["74.4 %", "1.50 ×", "12.0 M", "48 MB"]
    assert len(app.get("vega_lite_chart")) == 3


def test_one_seed_is_said_to_be_one_seed(scored: Store) -> None:
    fill(scored, seeds=1)
    assert "cannot be said with 1 seed" in words(opened())


def test_run_queues_the_cut_and_the_whole_model_once_however_often_it_is_pressed(scored: Store) -> None:
    app = opened()
    click(app, "run")
    rows = {tuple(row["kept_layers"]): row["state"] for row in _rows(scored)}
    assert rows == {WHOLE: "queued", TOP_2: "queued"}
    again = opened()
    assert "waiting, next in the queue (1 more for this cut)" in bars(again)
    assert len(_rows(scored)) == 2


def test_a_run_that_goes_on_shows_phase_step_loss_and_times_and_can_be_cancelled(scored: Store) -> None:
    queue.submit(scored, [spec(TOP_2, 0, FULL)])
    claim = queue.claim(scored, "worker")
    assert claim is not None
    queue.renew(scored, claim.key, "worker", Progress("training", 120, 250, 0.41, 23.0))
    app = opened()
    text, percent = list(bars(app).items())[-1]
    assert re.fullmatch(r"training, step 120 of 250, loss 0\.41, 0:0\d elapsed, 0:23 left.*", text)
    assert percent == 48
    click(app, "cancel")
    assert queue.renew(scored, claim.key, "worker", Progress("training")) == "cancel"


def test_asking_again_is_answered_at_once_and_marked_as_cached(scored: Store) -> None:
    fill(scored)
    before = len(_rows(scored))
    app = opened()
    click(app, "run")
    assert "Answered at once from the cache" in words(app)
    assert len(_rows(scored)) == before


def test_two_more_seeds_are_the_next_free_ones(scored: Store) -> None:
    fill(scored, seeds=1)
    app = opened()
    assert app.button(key="more_seeds").label == "Add two seeds"
    click(app, "more_seeds")
    queued = {(tuple(row["kept_layers"]), row["seed"]) for row in _rows(scored) if row["state"] == "queued"}
    assert queued == {(TOP_2, 1), (TOP_2, 2), (WHOLE, 1), (WHOLE, 2)}


def test_the_address_chooses_what_is_shown(scored: Store) -> None:
    fill(scored)
    app = opened(strategy="bottom", k="3")
    assert app.selectbox(key="strategy").value == "bottom"
    assert "has not been measured" in words(app)
    assert app.button(key="more_seeds").label == "Run two seeds"  # there is nothing to add them to
    assert len(app.dataframe) == 1


@pytest.mark.parametrize(
    "query",
    [
        {"strategy": "nonsense"},
        {"k": "99"},
        {"k": "x"},
        {"model": "<b>x</b>", "task": "'; DROP TABLE runs"},
        {"strategy": "symmetric", "k": "3"},
        {"recipe": "", "procedure": "7", "select": "<b>.99"},
    ],
)
def test_nonsense_in_the_address_falls_back_to_something_true(scored: Store, query: dict[str, str]) -> None:
    fill(scored)
    assert "layers" in words(opened(**query))


@pytest.mark.parametrize("strategy", ["even-alternate", "odd-alternate", "contribution", "symmetric", "bottom"])
def test_every_strategy_can_be_chosen_at_its_greatest_drop_count(scored: Store, strategy: str) -> None:
    app = opened(strategy=strategy)
    assert app.selectbox(key="strategy").value == strategy
    last = app.button_group(key="k").options[-1]
    app.button_group(key="k").set_value([int(last.content if hasattr(last, "content") else last)]).run()
    assert not app.exception


def test_a_store_of_a_newer_schema_is_one_message_with_a_next_step(settings: Settings, store: Store) -> None:
    with store.connect() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    store.close()
    said = words(opened())
    assert "schema 9999" in said
    assert "doctor" in said


def _rows(store: Store) -> list[Row]:
    return list_runs(store)


def test_results_of_another_version_of_a_recipe_are_not_mixed_in(scored: Store) -> None:
    finish(scored, spec(TOP_2, 0, replace(FULL, epochs=9)), 0.99)
    assert "This cut has not been measured with recipe full" in words(opened())


def test_a_disk_that_is_full_when_run_is_pressed_is_a_message_and_no_traceback(
    scored: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StoreUnavailable("The disk of the store is full; free some space.")

    app = opened()
    monkeypatch.setattr(queue, "submit", full)
    click(app, "run")
    assert "The disk of the store is full" in words(app)


def test_a_store_that_stops_answering_while_the_page_is_open_is_a_message(
    scored: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*_: object) -> None:
        raise StoreUnavailable("The store is locked.")

    app = opened()
    monkeypatch.setattr(listing, "live_runs", locked)
    rerun(app)
    assert "The store is locked." in words(app)


def test_a_cut_without_its_whole_model_says_so(scored: Store) -> None:
    finish(scored, spec(TOP_2, 0, FULL), 0.7)
    app = opened()
    assert [metric.delta for metric in app.metric].count("whole model not measured yet") == 3
    assert "not timed yet" in [metric.delta for metric in app.metric]


def test_the_mark_of_a_cached_answer_does_not_stay_for_another_choice(scored: Store) -> None:
    fill(scored)
    app = opened()
    click(app, "run")
    app.selectbox(key="recipe").set_value("quick").run()
    assert "from the cache" not in words(app)


def test_a_date_as_a_seed_does_not_slow_the_page(scored: Store) -> None:
    finish(scored, spec(TOP_2, 20261123, FULL), 0.7)
    app = opened()
    click(app, "more_seeds")
    assert {row["seed"] for row in _rows(scored) if row["state"] == "queued"} == {0, 1}


def test_a_task_whose_data_are_not_here_is_fetched_at_the_first_run_or_says_why_not(
    scored: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    app = opened(task="mrpc")
    assert "The sentences of MRPC are not on this machine; the first run fetches them from the Hub." in words(app)
    click(app, "run")
    assert "The Hub cannot be reached for nyu-mll/glue" in words(app)
    assert _rows(scored) == []


def test_a_task_with_a_trap_is_shown_with_its_warning(scored: Store) -> None:
    assert [warning.value for warning in opened(task="wnli").warning] == [TASKS["wnli"].warning]


def test_a_correlation_is_shown_a_hundredfold_under_its_name(scored: Store) -> None:
    task = TASKS["stsb"]
    for kept in ((0, 1, 2, 3), WHOLE):
        one = spec_of(plan_kept(MODELS["minilm-l6"], kept), task, "full", 0)
        queue.submit(scored, [one])
        claim = queue.claim(scored, "worker")
        assert claim is not None
        scores = (Score("pearson", 0.81, 0.79, 0.83), Score("spearman", 0.80, 0.78, 0.82))
        values = replace(result(0.81), metric="pearson", scores=scores, predictions=(0.5,) * 1500)
        queue.finish(scored, claim.key, "worker", values)
    app = opened(task="stsb")
    assert "of Pearson's correlation (81.0 ± 2.0 of 81.0 ± 2.0, 1 seed)" in words(app)
    assert next((card.label, card.value) for card in app.metric) == ("Pearson's correlation × 100", "81.0")
    assert "Pearson's correlation against layers kept" in words(app)


def finish_cut(store: Store, model: str, depth: int, score: float) -> None:
    one = spec_of(plan_kept(MODELS[model], range(depth)), TASKS["rotten-tomatoes"], "full", 0)
    finish(store, one, score)


def test_other_models_stand_beside_the_cuts_and_those_not_measured_can_be_run(
    scored: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    for depth, score in ((12, 0.9), (10, 0.88), (6, 0.85)):
        finish_cut(scored, "bert-base-uncased", depth, score)
    finish_cut(scored, "distilbert-base-uncased", 6, 0.87)
    finish_cut(scored, "bert-large-uncased", 12, 0.84)
    app = opened(model="bert-base-uncased")
    said = words(app).replace("\\", "")
    assert "1 DistilBERT, whole: 87.0 ± 2.0 % with 1 seed" in said
    assert "3 TinyBERT, 4 layers, whole: not measured; 4 BERT large, uncased, cut to 12: 84.0 ± 2.0 %" in said
    drawn = str(app.get("vega_lite_chart")[1].proto)
    assert "DistilBERT, whole (6 layers) has 87.0 %." in drawn
    assert "cut to 12 (12 layers) has 84.0 %." in drawn
    click(app, "run_baselines")
    assert "The Hub cannot be reached for" in words(app)
    assert "Stars" not in words(opened())


def test_many_drop_counts_are_a_list_and_the_choice_outlives_a_change_of_model(scored: Store) -> None:
    app = opened(model="bert-base-uncased", k="5")
    assert app.selectbox(key="k").value == 5
    app.selectbox(key="model").set_value("minilm-l6")
    rerun(app)
    assert app.button_group(key="k").value == 5
    app.selectbox(key="model").set_value("bert-large-uncased")
    rerun(app)
    assert len(app.selectbox(key="k").options) == 24


def test_tasks_without_results_says_so(scored: Store) -> None:
    assert "Nothing can be compared yet" in words(opened("tasks"))


def test_tasks_averages_over_the_papers_tasks_that_are_measured_and_over_a_choice(scored: Store) -> None:
    finish_task(scored, "sst2", {0: 0.90, 3: 0.86})
    finish_task(scored, "rte", {0: 0.68, 3: 0.66})
    finish_task(scored, "cola", {0: 0.47, 3: 0.27})
    app = opened("tasks")
    assert app.multiselect(key="tasks").value == ["sst2", "rte"]
    said = words(app)
    assert "Dropping 3 of 6 layers by top costs 3.0 points" in said
    assert "on average over 2 tasks; by task from 2.0 (RTE) to 4.0 (SST-2)" in said
    assert "not among these here: MNLI, QNLI, QQP, STS-B, MRPC" in said
    app.multiselect(key="tasks").set_value(["sst2", "rte", "cola", "qnli"])
    rerun(app)
    said = words(app)
    assert "costs 8.7 points" in said
    assert "to 20.0 (CoLA)" in said
    assert "Not measured with strategy top and recipe full: QNLI" in said


def test_tasks_with_all_seven_is_the_papers_average_and_is_a_table_too(scored: Store) -> None:
    for task in PAPER_AVERAGE:
        finish_task(scored, task, {0: 0.90, 2: 0.86}, seeds=1)
    app = opened("tasks", k="2")
    assert "the seven tasks of the paper's GLUE average" in words(app)
    assert "4.0 points (1 seed, so no interval) on average over 7 tasks" in words(app)
    shown = app.dataframe[0].value
    assert list(shown[shown["dropped"] == 2]["task"])[-1] == "average"


def test_tasks_says_how_many_layers_go_on_sentences_that_no_choice_was_made_on(scored: Store) -> None:
    finish_task(scored, "sst2", {0: 0.90, 3: 0.90})
    save_dev_labels(scored, TASKS["sst2"], [0, 1] * 3000)
    said = words(opened("tasks"))
    assert "At a loss of at most 2 points, of 6 layers go: SST-2 3." in said
    finish_task(scored, "rte", {0: 0.68, 3: 0.66})  # whose dev labels are neither known nor here
    app = opened("tasks")
    assert len(app.dataframe) == 2
    assert set(app.dataframe[1].value["task"]) == {"SST-2"}
