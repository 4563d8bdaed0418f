"""The Strategies page in its states."""

from __future__ import annotations

import pytest

from pmb.catalog.models import MODELS
from pmb.catalog.tasks import TASKS
from pmb.lab.plan import plan_kept, scores_identity, spec_of
from pmb.lab.store import Store, list_runs, save_layer_scores
from tests.app import FULL, WHOLE, click, fill, finish, opened, words
from tests.conftest import spec

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("content_streamlit")]

HALF = {"top": (0, 1, 2), "even-alternate": (0, 2, 4), "odd-alternate": (1, 3, 5), "bottom": (3, 4, 5)}
CONTRIBUTION = (0, 4, 5)  # by the scores of the fixture
SCORES = {(0, 1, 2): 0.75, (0, 2, 4): 0.749, (1, 3, 5): 0.74, (3, 4, 5): 0.6, CONTRIBUTION: 0.65, WHOLE: 0.8}


def measure_half(store: Store, task: str = "rotten-tomatoes", seeds: int = 3, more: float = 0.0) -> None:
    for kept, score in SCORES.items():
        for seed in range(seeds):
            one = spec_of(plan_kept(MODELS["minilm-l6"], kept), TASKS[task], "full", seed)
            finish(store, one, score + more + 0.001 * seed)


def test_an_empty_store_offers_what_is_missing(scored: Store) -> None:
    app = opened("strategies")
    assert "No strategy has been measured at this drop count" in words(app)
    assert app.button(key="queue_missing").label == "Queue it: 18 runs"  # five cuts and the whole model
    click(app, "queue_missing")
    assert len(list_runs(scored, "queued")) == 18


def test_a_winner_is_named_only_where_it_is_clear(scored: Store) -> None:
    measure_half(scored)
    app = opened("strategies")
    said = words(app)
    assert "top and even alternate are not clearly different" in said
    assert "Symmetric cannot drop 3 of 6 layers" in said
    assert "Queue it" not in "".join(button.label for button in app.button)
    assert len(app.get("vega_lite_chart")) == 1
    table = app.dataframe[0].value.set_index("strategy")
    assert table["not clearly worse"].to_dict() == {
        "top": True,
        "even alternate": True,
        "odd alternate": False,
        "contribution": False,
        "bottom": False,
    }


def test_the_average_is_over_the_tasks_that_have_every_strategy(scored: Store) -> None:
    measure_half(scored)
    measure_half(scored, "sst2", more=0.1)
    of_sst2 = spec_of(plan_kept(MODELS["minilm-l6"], WHOLE), TASKS["sst2"], "full", 0)
    save_layer_scores(scored, scores_identity(of_sst2), [0.2, 0.9, 0.8, 0.7, 0.6, 0.3])
    finish(scored, spec_of(plan_kept(MODELS["minilm-l6"], (0, 1, 2)), TASKS["rte"], "full", 0), 0.5)
    said = words(opened("strategies"))
    assert "on average over 2 tasks" in said
    assert "Not in the average, since not every strategy is measured there: RTE" in said
    assert "The sentences of RTE are not on this machine" in said


def test_one_seed_calls_nothing(scored: Store) -> None:
    measure_half(scored, seeds=1)
    assert "one seed does not tell which strategy is better" in words(opened("strategies"))


def test_one_strategy_is_no_contest_and_the_others_are_offered(scored: Store) -> None:
    fill(scored)
    app = opened("strategies")
    assert "there are not two strategies to compare yet" in words(app)
    assert app.button(key="queue_missing").label.startswith("Queue it: 12 runs, about ")


def test_shipped_results_fill_the_page_and_links_choose(scored: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PMB_SHIPPED")
    app = opened("strategies")
    assert "With 3 of 6 layers dropped, on Rotten Tomatoes" in words(app)
    assert "came with the lab" in words(app)
    assert len(app.get("vega_lite_chart")) >= 1
    app = opened("strategies", k="2", tasks="rotten-tomatoes")
    assert "With 2 of 6 layers dropped, on Rotten Tomatoes" in words(app)


def test_nonsense_in_the_address_falls_back(scored: Store) -> None:
    finish(scored, spec(WHOLE, 0, FULL), 0.8)
    said = words(opened("strategies", k="99", tasks="cooking", recipe="none", model="minilm-l6"))
    assert "No strategy has been measured at this drop count" in said
