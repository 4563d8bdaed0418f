"""The page Layers in every state."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pmb.catalog.models import MODELS, BaseModel
from pmb.catalog.tasks import TASKS
from pmb.errors import HubUnavailable
from pmb.lab import probes, queue
from pmb.lab.plan import plan_whole, scores_identity, spec_of
from pmb.lab.store import Store, save_layer_scores
from pmb.settings import Settings
from pmb.spec import Progress
from tests.app import bars, click, opened, words
from tests.layer_results import ask_for_probe, finish_probe, layer_probe

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("content_streamlit")]

DEEP = (0.5, *(0.6 + 0.02 * layer for layer in range(12)))


def seeds_asked_for(store: Store) -> list[tuple[str, int]]:
    return [(row["model"], row["seed"]) for row in probes.asked_probes(store)]


def test_an_empty_store_says_what_is_missing_and_how_to_measure_it(store: Store) -> None:
    app = opened("layers")
    said = words(app)
    assert "What fine-tuning does to the layers has not been measured with this recipe yet." in said
    assert said.count("Not measured yet. Press Measure the layers.") == 3
    assert app.button(key="measure").label == "Measure the layers"
    assert "python -m pmb probe --model minilm-l6 --task rotten-tomatoes" in app.code[0].value


def test_shipped_results_fill_the_first_screen(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PMB_SHIPPED")
    app = opened("layers", task="sst2", recipe="first-2000")
    said = words(app)
    assert "changes the sentence token most" in said
    assert "3 seeds" in said
    assert "came with the lab" in said
    assert len(app.get("vega_lite_chart")) == 3


def test_contribution_alone_is_one_chart(scored: Store) -> None:
    app = opened("layers")
    assert "Layer 0 changes the sentence token most, layer 1 least; what fine-tuning" in words(app)
    assert len(app.get("vega_lite_chart")) == 1


def test_one_seed_is_said_to_be_one_seed(scored: Store) -> None:
    finish_probe(scored)
    assert "80.0 ± 2.0 % (1 seed, so layers are not compared)" in words(opened("layers"))


def test_three_seeds_are_three_charts_or_a_table(scored: Store) -> None:
    for seed in range(3):
        finish_probe(scored, seed=seed)
    app = opened("layers")
    assert len(app.get("vega_lite_chart")) == 3
    assert "measured here, on test device" in words(app)
    assert app.button(key="measure").label == "Add two seeds"
    table = opened("layers").dataframe[0].value
    assert list(table["layer"]) == ["emb.", "0", "1", "2", "3", "4", "5"]
    assert list(table["fine-tuned × 100"].round(1))[::6] == [50.0, 80.4]
    assert set(table["seeds"]) == {3}


def test_two_models_stand_beside_each_other_by_link(scored: Store) -> None:
    for seed in range(3):
        finish_probe(scored, seed=seed)
        finish_probe(scored, "xlnet-base-cased", seed=seed, probe=layer_probe(DEEP, 0.004 * seed))
    app = opened("layers", beside="xlnet-base-cased")
    said = words(app)
    assert "MiniLM-L6: Layer 0 changes" in said
    assert "XLNet base: Fine-tuning changes the output of layer 11 most" in said
    assert "Models of different depth are matched by this number" in said
    drawn = [str(chart.proto) for chart in app.get("vega_lite_chart")]
    assert ["XLNet base" in text for text in drawn] == [False, True, True]  # its contribution is not known
    assert len(opened("layers", beside="xlnet-base-cased").dataframe[0].value) == 7 + 13


def test_a_model_beside_itself_is_one_model(scored: Store) -> None:
    assert "matched by this number" not in words(opened("layers", beside="minilm-l6"))


@pytest.mark.parametrize("beside", ["<b>x</b>", "no/such model", "/nowhere"])
def test_nonsense_beside_is_one_message(scored: Store, beside: str) -> None:
    said = words(opened("layers", beside=beside))
    assert "That cannot be used. Choose something else above." in said
    assert f"Unknown model {beside!r}" in said


@pytest.mark.parametrize("query", [{"recipe": "x"}, {"select": "7"}, {"beside": "", "model": ""}])
def test_nonsense_in_the_address_falls_back_to_something_true(scored: Store, query: dict[str, str]) -> None:
    assert "layer" in words(opened("layers", **query))


def test_measure_asks_once_for_three_seeds_and_shows_how_far_it_is(scored: Store) -> None:
    app = opened("layers")
    click(app, "measure")
    assert seeds_asked_for(scored) == [("minilm-l6", 0), ("minilm-l6", 1), ("minilm-l6", 2)]
    assert "python -m pmb worker" in words(app)  # none is alive
    queue.beat(scored, "worker")
    taken = probes.take(scored)
    assert taken is not None
    probes.renew(scored, taken.key, Progress("training", 100, 400, 0.4, 33.0))
    app = opened("layers")
    assert bars(app)["Seed 0: training, step 100 of 400, 33 s left (2 more to come)"] == 25
    click(app, "cancel")
    assert seeds_asked_for(scored) == []


def test_more_seeds_are_the_next_free_ones_of_both_models(scored: Store) -> None:
    finish_probe(scored)
    finish_probe(scored, seed=2)
    app = opened("layers")
    click(app, "measure")
    assert seeds_asked_for(scored) == [("minilm-l6", 1), ("minilm-l6", 3)]


def test_of_two_models_only_the_one_without_results_is_measured(scored: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: list[str] = []

    def refused(store: Store, settings: Settings, model: BaseModel, *_: object) -> None:
        wanted.append(model.id)
        raise HubUnavailable("The Hub cannot be reached.")

    monkeypatch.setattr(probes, "ask_for", refused)
    finish_probe(scored)
    app = opened("layers", beside="xlnet-base-cased")
    click(app, "measure")
    assert wanted == ["xlnet-base-cased"]
    assert "The Hub cannot be reached." in words(app)


def test_a_failure_is_told_as_text_with_its_seed(scored: Store) -> None:
    probes.fail(scored, ask_for_probe(scored, seed=1), "The loss became <b>nan</b>.")
    app = opened("layers")
    assert "Seed 1 of MiniLM-L6\\: The loss became \\<b\\>nan\\</b\\>." in words(app)
    assert app.button(key="measure").label == "Measure the layers"


def test_a_correlation_is_drawn_a_hundredfold(scored: Store) -> None:
    identity = scores_identity(spec_of(plan_whole(MODELS["minilm-l6"]), TASKS["stsb"], "full", 0))
    save_layer_scores(scored, identity, [0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    finish_probe(scored, task="stsb", probe=replace(layer_probe(), metric="pearson"))
    app = opened("layers", task="stsb")
    drawn = str(app.get("vega_lite_chart")[2].proto)
    assert "correlation on dev" in drawn
    assert "layer 5: 80.0, 55.0." in drawn
