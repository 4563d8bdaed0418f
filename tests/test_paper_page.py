"""The Paper page in its states."""

from __future__ import annotations

import pytest

from pmb.lab.store import Store, list_runs
from pmb.screen import ui
from tests.app import FULL, WHOLE, click, fill, finish, opened, rerun, words
from tests.conftest import spec

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("content_streamlit")]


def test_an_empty_store_offers_the_runs_that_would_decide(scored: Store) -> None:
    app = opened("paper")
    said = words(app)
    assert "Of the paper's 10 claims 10 are not measured, with MiniLM-L6 and recipe full." in said
    assert "Nothing has been measured for this choice" in said
    assert app.button(key="queue-6").label == "Queue it: 6 runs"
    click(app, "queue-6")
    queued = list_runs(scored, "queued")
    assert sorted((tuple(run["kept_layers"]), run["seed"]) for run in queued) == sorted(
        (kept, seed) for kept in ((0, 1, 2), WHOLE) for seed in range(3)
    )
    assert "6 runs wait or go on" in words(app)


def test_verdicts_come_from_what_is_measured(scored: Store) -> None:
    fill(scored)  # top alone, 3 points a layer, twice as fast at half
    said = words(opened("paper")).replace("\\", "")
    assert "claims 1 holds, 2 do not hold and 7 are not measured" in said
    assert "5 of 5 cuts on Rotten Tomatoes are clearly below the whole model" in said
    assert "3 dropped by top: Rotten Tomatoes 9.0 points (" in said
    assert "(measured here)" in said


def test_a_single_seed_decides_nothing_and_runs_that_are_there_are_not_offered_again(scored: Store) -> None:
    finish(scored, spec(WHOLE, 0, FULL), 0.8)
    app = opened("paper")
    assert "10 are not measured" in words(app)
    assert app.button(key="queue-6").label.startswith("Queue it: 5 runs, about ")


def test_shipped_results_fill_the_ledger(scored: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PMB_SHIPPED")
    app = opened("paper")
    app.button_group(key="view").set_value("Table")
    rerun(app)
    assert "came with the lab" in words(app)
    ledger = app.dataframe[0].value
    assert len(ledger) == 10
    assert ledger["verdict"].isin(["holds", "does not hold", "within noise", "not measured"]).all()
    assert (ledger.loc[ledger["verdict"] != "not measured", "measured"].str.len() > 20).all()
    published, measured = (table.value.set_index("strategy") for table in app.dataframe[1:3])
    assert published["6 dropped"].round(1)["bottom"] == 15.9
    assert {"1 dropped", "2 dropped", "3 dropped"} <= set(measured.columns)


def test_nonsense_in_the_address_falls_back(scored: Store) -> None:
    said = words(opened("paper", published="GPT", view="Nothing", recipe="unheard-of"))
    assert "Published: BERT" in said


def test_a_model_that_cannot_be_fetched_is_one_sentence(scored: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    ui.open_stores.clear()
    app = opened("paper")
    click(app, "queue-5")
    assert "xlnet" in words(app)
    assert list_runs(scored, "queued") == []
