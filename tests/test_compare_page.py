"""The Compare page in its states."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pmb.catalog.tasks import TASKS
from pmb.engine.data import load_task
from pmb.lab import queue
from pmb.lab.dev import save_dev_labels
from pmb.lab.results import measured_configurations
from pmb.lab.store import Store
from pmb.settings import Settings
from tests.app import FULL, TOP_2, WHOLE, finish, opened, rerun, words
from tests.conftest import result, spec

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("content_streamlit")]

TASK = TASKS["rotten-tomatoes"]
NAMES = ("minilm-l6 full 0,1,2,3,4,5", "minilm-l6 full 0,1,2,3")


@pytest.fixture
def two(scored: Store) -> Store:
    """The whole model and a cut with two seeds each; both always give the same answers."""
    save_dev_labels(scored, TASK, [0, 1] * 3000)
    for seed in range(2):
        finish(scored, spec(WHOLE, seed, FULL), 0.8)
        finish(scored, spec(TOP_2, seed, FULL), 0.7)
    return scored


def test_an_empty_store_says_what_to_do(scored: Store) -> None:
    said = words(opened("compare"))
    assert "not two configurations to compare" in said
    assert "Run the whole model and a cut on Explore" in said


def test_two_are_compared(two: Store) -> None:
    app = opened("compare")
    said = words(app)
    assert "No clear difference: B minus A is 0.0 points" in said
    assert "2000" not in app.selectbox(key="a").options
    assert sorted(app.selectbox(key="a").options) == sorted(NAMES)
    pairs = app.dataframe[0].value
    assert list(pairs["only A right"]) == [0, 0]
    assert len(app.get("vega_lite_chart")) == 3
    assert len(app.dataframe) == 4


def test_flipped_sentences_are_read_when_asked_for(scored: Store, home_with_assets: Settings) -> None:
    save_dev_labels(scored, TASK, [0, 1] * 3000)
    finish(scored, spec(WHOLE, 0, FULL), 1.0)
    queue.submit(scored, [spec(TOP_2, 0, FULL)])
    claim = queue.claim(scored, "worker")
    assert claim is not None
    queue.finish(scored, claim.key, "worker", replace(result(0.5), predictions=(0,) * 6000))
    app = opened("compare", a=NAMES[0], b=NAMES[1])
    assert "**3,000** where A is right and B wrong, **0** the other way round" in words(app)
    app.toggle(key="sentences").set_value(True)
    rerun(app)
    expected = load_task(TASK, home_with_assets.assets).dev
    table = next(shown.value for shown in app.dataframe if "sentence" in shown.value)
    assert list(table["sentence"]) == [expected[row].texts[0] for row in range(1, 40, 2)]
    assert set(table["true"]) == {"fresh"}
    assert "and 2,980 more" in words(app)


def test_a_link_chooses_both_and_nonsense_falls_back(two: Store) -> None:
    app = opened("compare", a=NAMES[1], b=NAMES[0])
    assert (app.selectbox(key="a").value, app.selectbox(key="b").value) == (NAMES[1], NAMES[0])
    app = opened("compare", a="<script>", b="nothing")
    assert {app.selectbox(key="a").value, app.selectbox(key="b").value} <= set(NAMES)


def test_shipped_results_are_compared_without_their_sentences(scored: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PMB_SHIPPED")
    app = opened("compare")
    assert app.selectbox(key="a").value == NAMES[0]
    assert app.selectbox(key="b").value == "minilm-l6 full 0,1,2"
    assert "A is better than B by" in words(app)
    app.selectbox(key="task").set_value("stsb")
    rerun(app)
    assert "The sentences are not on this machine" in words(app)
    assert "farther" in words(app)


def test_runs_of_another_recipe_or_task_are_no_choice(two: Store) -> None:
    queue.submit(two, [spec((0,), 0)])  # the recipe "tiny" is none of the catalog
    claim = queue.claim(two, "worker")
    assert claim is not None
    queue.finish(two, claim.key, "worker", result(0.5))
    assert set(measured_configurations(two, TASK)) == set(NAMES)
    assert measured_configurations(two, TASKS["sst2"]) == {}
