"""A preview on Explore: asked for by a button, told while it goes on, hollow in the chart, by name in the table."""

from __future__ import annotations

import json
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from pmb.catalog.models import cuts_by
from pmb.charts.style import NAMES, THEMES, Theme, look_of
from pmb.lab.plan import identity_of_scores
from pmb.lab.previews import Going, Previews
from pmb.lab.store import Store, save_block_scores
from pmb.screen import preview_row
from pmb.settings import Settings
from pmb.spec import Progress
from pmb.strategies import CHOICES, STRATEGIES, kept_layers
from tests.app import FULL, WHOLE, bars, charts, click, fill, finish, opened, rerun, words
from tests.conftest import spec
from tests.test_blocks import ANGULAR
from tests.test_previews import MODEL, SCORES, TASK, save

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("content_streamlit")]
CUTS = cuts_by(MODEL, STRATEGIES, SCORES)


def depth_chart(app: AppTest) -> dict[str, Any]:
    """The first chart that has layers kept at its foot."""
    return next(chart for chart in charts(app) if "layers kept" in json.dumps(chart))


def legends(chart: dict[str, Any]) -> list[str]:
    """What the hollow points of a chart are called."""
    sizes = [layer["encoding"]["size"] for layer in chart["layer"] if "size" in layer["encoding"]]
    return [kind for size in sizes for kind in size["scale"]["domain"]]


class Started(Previews):
    """Keeps what it was asked for and computes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[Any, ...]] = []

    def start(self, *asked: Any) -> None:
        self.asked.append(asked[2:])
        self._going[MODEL.id, TASK.id] = Going(progress=Progress("previewing", 3, 20))


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    found = Started()
    monkeypatch.setattr(preview_row, "open_previews", lambda: found)
    return found


def test_pressed_it_asks_for_the_chosen_strategy_first_and_for_what_is_measured(
    scored: Store, started: Started
) -> None:
    finish(scored, spec((0, 3), 0, FULL), 0.7)
    app = opened(strategy="bottom")
    click(app, "preview")
    ((model, task, names, also),) = started.asked
    assert (model.id, task.id, names[0], sorted(names)) == (MODEL.id, TASK.id, "bottom", sorted(STRATEGIES))
    assert also == [(0, 3)]
    assert not [button for button in app.button if button.key == "preview"]
    assert bars(app) == {"Preview, 3 of 20 cuts": 15}
    click(app, "stop_preview")
    assert started._going[MODEL.id, TASK.id].stop.is_set()


def test_an_error_is_a_sentence_and_it_can_be_asked_for_again(scored: Store, started: Started) -> None:
    started._going[MODEL.id, TASK.id] = Going(error="The *disk* is full.", ended=True)
    app = opened()
    assert "The \\*disk\\* is full." in words(app)
    assert app.button(key="preview")


def test_a_preview_that_was_computed_on_the_cpu_although_there_is_a_gpu_says_why(
    scored: Store, started: Started
) -> None:
    why = "on the CPU: 1.5 GB of the GPU's memory are free and about 6.0 needed; held by *anna* (process 7)"
    going = started._going[MODEL.id, TASK.id] = Going(progress=Progress("previewing", 3, 20, note=why), note=why)
    assert bars(opened()) == {f"Preview, 3 of 20 cuts, {why}": 15}
    going.ended = True
    assert "This preview was computed on the CPU\\: 1.5 GB of " in words(opened())
    assert "held by \\*anna\\*" in words(opened())


def test_predictions_are_hollow_and_named_and_say_what_they_are_worth(scored: Store) -> None:
    fill(scored)
    for kept in ((1, 2, 3, 4, 5), (2, 3, 4, 5)):
        finish(scored, spec(kept, 0, FULL), 0.7)
    save(scored, {kept: 0.6 + 0.01 * (sum(kept) % 5) for kept in CUTS})
    app = opened(strategy="symmetric", k="2")
    assert not [button for button in app.button if button.key == "preview"]  # nothing is missing
    said = words(app)
    assert "predicted before training, with a 95 % band. Of 8 measured cuts, each predicted from the others, " in said
    assert "Predicted: 7" in said  # the chosen cut is not measured
    chart = depth_chart(app)
    assert legends(chart) == ["predicted"]
    (hollow,) = [layer for layer in chart["layer"] if "size" in layer["encoding"]]
    assert hollow["mark"]["filled"] is False
    drawn = {point["kept"] for point in hollow["data"]["values"]}
    assert "0 1 4 5" in drawn
    assert "0 1 2 3" not in drawn  # measured, and not of the chosen strategy
    measured = [layer for layer in chart["layer"] if layer["mark"]["type"] == "line"]
    assert not any("predicted" in json.dumps(layer["data"]) for layer in measured)
    assert list(app.dataframe[-1].value.columns)[4:7] == ["predicted", "band from", "band to"]


def test_too_few_runs_are_uncalibrated_without_a_band(scored: Store) -> None:
    save(scored, dict.fromkeys(CUTS, 0.6))
    app = opened()
    said = words(app)
    assert "Nothing has been measured" in said
    assert "frozen features, which are no prediction. Uncalibrated: 0 of these cuts are measured" in said
    assert "Predicted: " not in said
    chart = depth_chart(app)
    assert legends(chart) == ["frozen features"]
    assert not [layer for layer in chart["layer"] if layer["mark"]["type"] == "bar"]
    assert "predicted" not in app.dataframe[-1].value.columns


def test_a_strategy_beside_the_papers_six_is_drawn_where_it_is_chosen(scored: Store) -> None:
    save_block_scores(scored, identity_of_scores(MODEL, TASK), {"angular": ANGULAR, "block-influence": list(SCORES)})
    kept = kept_layers("angular", 6, 2, ANGULAR)
    for seed in range(2):
        finish(scored, spec(kept, seed, FULL), 0.7 + 0.01 * seed)
        finish(scored, spec(WHOLE, seed, FULL), 0.8 + 0.01 * seed)
    app = opened(strategy="angular", k="2")
    assert app.selectbox(key="strategy").value == "angular"
    assert "Dropping 2 of 6 layers by angular keeps" in words(app)
    chart = depth_chart(app)
    (line,) = [layer for layer in chart["layer"] if layer["mark"]["type"] == "line"]
    assert {point["name"] for point in line["data"]["values"]} == {"angular", "top"}  # the same cut
    assert line["encoding"]["color"]["scale"]["domain"][-1] == "angular"
    assert len(line["encoding"]["color"]["scale"]["domain"]) == 7


def test_a_page_of_the_papers_six_falls_back_to_the_first(scored: Store) -> None:
    save_block_scores(scored, identity_of_scores(MODEL, TASK), {"angular": ANGULAR})
    assert opened("tasks", strategy="angular").selectbox(key="strategy").value == "top"


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_further_strategies_differ_from_the_six_and_from_their_background(theme: Theme) -> None:
    look = look_of([name.replace("-", " ") for name in CHOICES], theme)
    for marks in (look.names, look.colours, look.shapes, [tuple(dash) for dash in look.dashes]):
        assert len(set(marks)) == len(CHOICES)
    assert all(contrast(colour, theme.background) >= 3 for colour in look.colours)
    assert look_of(["top"], theme).names == list(NAMES)


def contrast(colour: str, background: str) -> float:
    """WCAG 2.2's contrast ratio."""

    def luminance(one: str) -> float:
        parts = [int(one[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(colour), luminance(background)))
    return (high + 0.05) / (low + 0.05)


def test_who_may_only_look_sees_what_is_known_and_no_button(
    scored: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(scored, {(0, 1): 0.6})
    monkeypatch.setenv("PMB_READ_ONLY", "1")
    app = opened()
    assert not [button for button in app.button if button.key == "preview"]
    assert legends(depth_chart(app)) == ["frozen features"]


def test_the_page_is_drawn_anew_with_the_first_curve_and_at_the_end(scored: Store, started: Started) -> None:
    going = started._going[MODEL.id, TASK.id] = Going(first=6)
    for step, told in ((0, 0), (5, 0), (6, 1), (8, 2), (20, 3)):
        going.progress = Progress("previewing", step, 20)
        assert going.told() == told
    app = opened()
    save(scored, dict.fromkeys(CUTS, 0.6))
    going.ended = True
    rerun(app)
    assert "frozen features" in words(app)
    assert not app.get("progress")
