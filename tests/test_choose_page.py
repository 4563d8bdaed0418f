"""Layers of one's own and random draws on Explore: in the address, run, ringed, predicted, refused, averaged."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from streamlit.testing.v1 import AppTest

from pmb.catalog.models import MODELS
from pmb.insight.draws import draws_sentence
from pmb.insight.summary import configurations
from pmb.lab.store import Store, list_runs
from pmb.screen import controls
from pmb.strategies import DRAWS, kept_layers
from tests.app import FULL, WHOLE, click, fill, finish, opened, rerun, words
from tests.conftest import spec
from tests.test_insight import run
from tests.test_preview_page import CUTS, depth_chart
from tests.test_previews import save

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("content_streamlit")]

OWN = (0, 1, 4)  # what no strategy makes


def kept_on(app: AppTest) -> list[int]:
    """The buttons that are pressed."""
    return list(app.button_group(key="kept").value or ())


def test_layers_of_ones_own_are_shown_as_any_cut_is(scored: Store) -> None:
    fill(scored)
    for seed in range(3):
        finish(scored, spec(OWN, seed, FULL), 0.70 + 0.004 * seed)
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
    assert app.query_params["kept"] == ["2", "3", "4", "5"]
    app.button_group(key="kept").set_value([5, 0, 4])
    rerun(app)
    assert "Kept 0 4 5; dropped 1 2 3." in words(app)
    app.query_params["kept"] = ["1", "2", "3"]  # another link in the same tab, or the way back
    rerun(app)
    assert "Kept 1 2 3; dropped 0 4 5." in words(app)
    app.selectbox(key="strategy").set_value("top")
    rerun(app)
    assert "Dropping 3 of 6 layers by top" in words(app)
    assert "kept" not in app.query_params


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
        finish(scored, spec(kept, 0, FULL), 0.7)
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


DRAWN = tuple(kept_layers(draw, 6, 3) for draw in DRAWS)
CONTRIBUTION = (0, 4, 5)  # by the scores of the fixture


def test_the_first_random_draw_is_a_cut_and_the_others_can_be_measured(scored: Store) -> None:
    finish(scored, spec(DRAWN[0], 0, FULL), 0.7)
    app = opened(strategy="random", k="3")
    said = words(app)
    assert "Dropping 3 of 6 layers at random scores 70.0" in said
    left = len(set(DRAWN)) - 1
    assert f"are {left + 1} different cuts, of which {left} are not measured; when all are, their mean is told." in said
    assert app.button(key="measure").label == f"Measure the {left}, a run each"
    click(app, "measure")
    assert {tuple(row["kept_layers"]) for row in list_runs(scored, "queued")} == set(DRAWN[1:]) - {DRAWN[0]}
    assert "They wait or go on." in words(app)


OTHERS = [kept for kept in dict.fromkeys(DRAWN) if kept != CONTRIBUTION]


def test_the_mean_of_all_draws_stands_beside_contribution(scored: Store) -> None:
    for place, kept in enumerate([*OTHERS, CONTRIBUTION]):
        finish(scored, spec(kept, 0, FULL), 0.69 + 0.02 * (place % 2))
    app = opened(strategy="random", k="3")
    beside = r"different cuts: [67]\d\.\d ± \d\.\d % on average, contribution \d\d\.0 ± \d\.\d % with 1 seed: whether"
    assert re.search(beside, words(app))
    assert not [button for button in app.button if button.key == "measure"]


@pytest.mark.parametrize(
    ("scores", "verdict"),
    [
        ((0.701, 0.702, 0.7), r"no clear difference\."),
        ((0.79, 0.791, 0.792), r"9\.1 points better than a random cut \(95 % interval [78]\.\d to 1\d\.\d\)\."),
        ((0.55, 0.551, 0.552), r"14\.9 points worse than a random cut \(95 % interval 1[34]\.\d to 1[56]\.\d\)\."),
        ((0.79,), r"whether that is a real difference cannot be said with 1 seed\."),
    ],
)
def test_no_winner_is_called_inside_the_noise(scores: tuple[float, ...], verdict: str) -> None:
    cuts = OTHERS[:6]
    runs = [run(kept, 0, 0.69 + 0.02 * (place % 2)) for place, kept in enumerate(cuts)]
    runs += [run(CONTRIBUTION, seed, score) for seed, score in enumerate(scores)]
    said = draws_sentence(configurations(runs), cuts, CONTRIBUTION)
    assert re.search(r"are 6 different cuts: 70\.0 ± 1\.1 % on average, contribution .* seeds?: " + verdict, said)


def test_draws_that_strategies_happen_to_make_are_no_sample() -> None:
    table = configurations([run((0, 1, 2), 0, 0.7), run((3, 4, 5), 0, 0.6)])
    assert "their mean is told" in draws_sentence(table, [(0, 1, 2), (3, 4, 5), (0, 2, 4)], None)
    told = draws_sentence(table, [(0, 1, 2), (3, 4, 5), (0, 1, 2)], (0, 4, 5))
    assert told.startswith("The first 3 random draws at this drop count are 2 different cuts: 65.0 ± 63.5 % on average")
    assert told.endswith("; contribution is not measured at this drop count.")
    assert draws_sentence(table, [(0, 1, 2)] * 3, None) == ""


def test_who_may_only_look_is_offered_no_draws_and_a_whole_model_has_none(
    scored: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PMB_READ_ONLY", "1")
    app = opened(strategy="random", k="3")
    assert "not measured" in words(app)
    assert not [button for button in app.button if button.key == "measure"]
    assert "random draws" not in words(opened(strategy="random", k="0"))
