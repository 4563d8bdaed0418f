"""Layers of one's own on Explore: chosen by buttons, in the address, run, ringed, predicted, refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from streamlit.testing.v1 import AppTest

from pmb import controls
from pmb.catalog.models import MODELS
from pmb.lab.store import Store, list_runs
from tests.app import STANDARD, WHOLE, click, fill, finish, opened, rerun, words
from tests.conftest import spec
from tests.test_preview_page import CUTS, depth_chart
from tests.test_previews import save

pytestmark = pytest.mark.usefixtures("content_streamlit")

OWN = (0, 1, 4)  # what no strategy makes


def kept_on(app: AppTest) -> list[int]:
    """The buttons that are pressed."""
    return list(app.button_group(key="kept").value)


def test_layers_of_ones_own_are_shown_as_any_cut_is(scored: Store) -> None:
    fill(scored)
    for seed in range(3):
        finish(scored, spec(OWN, seed, STANDARD), 0.70 + 0.004 * seed)
    app = opened(strategy="custom", kept=["0", "1", "4"])
    assert kept_on(app) == list(OWN)
    said = words(app)
    assert "Dropping 3 of 6 layers (2 3 5) keeps 87.6 % of the accuracy" in said
    assert "answers 2.00 times as fast" in said
    assert "Kept 0 1 4; dropped 2 3 5." in said
    assert [metric.value for metric in app.metric][:2] == ["70.4 %", "2.00 ×"]
    chart = depth_chart(app)
    (ring,) = [layer for layer in chart["layer"] if layer["mark"].get("size") == 190]
    assert [point["kept"] for point in ring["data"]["values"]] == ["0 1 4"]
    table = app.dataframe[0].value
    assert table[table["strategy"] == "custom"]["layers kept"].tolist() == ["0 1 4"]


def test_they_are_run_with_further_seeds_and_by_command(scored: Store) -> None:
    app = opened(strategy="custom", kept=["0", "1", "4"])
    assert "This cut has not been measured" in words(app)
    assert any("--keep 0,1,4 " in code.value for code in app.code)
    click(app, "run")
    assert {tuple(row["kept_layers"]) for row in list_runs(scored)} == {OWN, WHOLE}


def test_they_begin_with_the_cut_that_was_shown_and_their_number_goes_along(scored: Store) -> None:
    fill(scored)
    app = opened(strategy="bottom", k="2")
    app.selectbox(key="strategy").set_value("custom")
    rerun(app)
    assert kept_on(app) == [2, 3, 4, 5]
    app.button_group(key="kept").set_value([5, 0, 4])
    rerun(app)
    assert "Kept 0 4 5; dropped 1 2 3." in words(app)
    app.selectbox(key="strategy").set_value("top")
    rerun(app)
    assert "Dropping 3 of 6 layers by top" in words(app)


def test_on_the_way_to_another_page_and_back_they_stay(scored: Store) -> None:
    app = opened(strategy="custom", kept=["0", "5"])
    app.switch_page("pages/runs_page.py").run()
    app.switch_page("pages/explore_page.py").run()
    assert kept_on(app) == [0, 5]
    app.switch_page("pages/tasks_page.py").run()  # which has the paper's strategies
    assert app.selectbox(key="strategy").value == "top"


def test_none_left_is_a_sentence(scored: Store) -> None:
    app = opened(strategy="custom", kept=["0", "1"])
    app.button_group(key="kept").set_value([])
    rerun(app)
    assert "No layer is kept; at least 1 must stay." in words(app)


@pytest.mark.parametrize(
    ("kept", "shown"),
    [(["99"], [0, 1, 2, 3]), (["x", "<b>"], [0, 1, 2, 3]), (["2", "7", "2", "-1"], [2]), ([""], [0, 1, 2, 3])],
)
def test_nonsense_in_the_address_falls_back_to_layers_that_are_there(
    scored: Store, kept: list[str], shown: list[int]
) -> None:
    assert kept_on(opened(strategy="custom", kept=kept)) == shown


def test_an_architecture_that_forbids_them_says_so(scored: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    first_differs = replace(MODELS["minilm-l6"], kinds=(0, 1, 1, 1, 1, 1))
    monkeypatch.setattr(controls, "choose_model", lambda: first_differs)
    app = opened(strategy="custom", kept=["1", "2"])
    assert "cannot take the place of layer 0, whose parameters are of another form; keep layer 0." in words(app)


def test_what_is_predicted_of_them_is_shown_hollow(scored: Store) -> None:
    fill(scored)
    for kept in ((1, 2, 3, 4, 5), (2, 3, 4, 5)):
        finish(scored, spec(kept, 0, STANDARD), 0.7)
    save(scored, {kept: 0.6 + 0.01 * (sum(kept) % 5) for kept in (*CUTS, OWN)})
    app = opened(strategy="custom", kept=["0", "1", "4"])
    assert "Predicted: " in words(app)
    hollow = next(layer for layer in depth_chart(app)["layer"] if "size" in layer["encoding"])
    assert [point["kept"] for point in hollow["data"]["values"] if point["name"] == "custom"] == ["0 1 4"]
    assert "custom" in json.dumps(hollow["encoding"]["color"])


def test_who_may_only_look_looks_at_them(scored: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PMB_READ_ONLY", "1")
    app = opened(strategy="custom", kept=["0", "1", "4"])
    assert kept_on(app) == list(OWN)
    assert "Press Run" not in words(app)
    assert not [button for button in app.button if button.key == "run"]
