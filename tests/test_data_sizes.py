"""Does it hold with more data: which runs make the curves, what they say, and the part of the Tasks page."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from benchmarks.measure import PARTS, specs_of
from pmb.catalog.tasks import TASKS
from pmb.insight import data_sizes
from pmb.insight.zero_layers import BAG_OF_WORDS
from pmb.lab.plan import plan_kept, spec_of
from pmb.lab.store import Store
from pmb.screen.data_part import base_recipe
from pmb.settings import Settings
from tests import zero_layers as made
from tests.app import charts, finish, opened, words
from tests.zero_layers import MODEL

TASK = TASKS["rotten-tomatoes"]
CUTS = data_sizes.planned_cuts(6)


def run_of(cut: str, size: int, seed: int, score: float) -> dict[str, Any]:
    """A finished run as the store gives it."""
    return {
        "kept_layers": list(CUTS[cut]),
        "num_hidden_layers": 6,
        "seed": seed,
        "score": score,
        "recipe_values": {"train_sentences": size},
        "metric": "accuracy",
        "scores": None,
        "num_dev": 1000,
        "parameters": 10**6,
        "megabytes": 4.0,
        "train_seconds": 1.0,
        "source": "measured",
        "device": "d",
        "finished_at": 0.0,
    }


def curve() -> pd.DataFrame:
    """The whole model and a cut with few and with all train items, two seeds each; another cut with few alone."""
    scores = {("whole model", 500): 0.70, ("whole model", 4738): 0.80, ("top, 2 dropped", 500): 0.66}
    scores |= {("top, 2 dropped", 4738): 0.78, ("top, 3 dropped", 500): 0.6}
    runs = [
        run_of(cut, size, seed, score + seed / 100)
        for (cut, size), score in reversed(scores.items())
        for seed in range(2)
    ]
    return data_sizes.by_train_items(runs, CUTS)


def test_the_planned_cuts_are_a_third_and_a_half_of_the_layers() -> None:
    assert CUTS == {
        "whole model": (0, 1, 2, 3, 4, 5),
        "top, 2 dropped": (0, 1, 2, 3),
        "even alternate, 2 dropped": (0, 1, 2, 4),
        "top, 3 dropped": (0, 1, 2),
        "even alternate, 3 dropped": (0, 2, 4),
    }
    assert {6 - len(kept) for kept in CUTS.values()} == {0, 2, 3}
    assert {12 - len(kept) for kept in data_sizes.planned_cuts(12).values()} == {0, 4, 6}
    assert data_sizes.planned_cuts(1) == {"whole model": (0,)}


def test_a_row_is_a_cut_with_so_many_train_items() -> None:
    table = curve()
    assert [(row["cut"], row["train_items"]) for row in table.to_dict("records")] == [
        ("whole model", 500),
        ("top, 2 dropped", 500),
        ("top, 3 dropped", 500),
        ("whole model", 4738),
        ("top, 2 dropped", 4738),
    ]
    assert data_sizes.sizes_of(table) == [500, 4738]
    assert data_sizes.missing_sizes(table, 4738) == [1000, 2000]
    assert data_sizes.missing_sizes(table, 900) == [900]
    assert data_sizes.seeds_words(table) == "2 seeds"


def test_the_sentence_compares_losses_with_few_and_with_many_items() -> None:
    said = data_sizes.losses_sentence(curve())
    assert said.startswith(
        "Points lost against the whole model with 500 and with 4,738 train items: top, 2 dropped: 4.0 ("
    )
    assert ") and 2.0 (" in said
    assert "top, 3 dropped" not in said  # with few items alone
    one_seed = data_sizes.by_train_items(
        [
            run_of(cut, size, 0, score)
            for cut, size, score in (
                ("whole model", 500, 0.7),
                ("top, 2 dropped", 500, 0.66),
                ("whole model", 1000, 0.75),
                ("top, 2 dropped", 1000, 0.74),
            )
        ],
        CUTS,
    )
    assert data_sizes.losses_sentence(one_seed).endswith("top, 2 dropped: 4.0 and 1.0.")
    few = curve()
    assert "not measured" in data_sizes.losses_sentence(few[few["train_items"] == 500])


def test_the_plan_is_that_of_the_chart(store: Store, settings: Settings) -> None:
    specs = [spec for part in PARTS if part.number == 5 for spec in specs_of(store, settings, part)]
    assert {spec.kept_layers for spec in specs} == set(CUTS.values())
    assert {spec.recipe.train_sentences for spec in specs} == {500, 1000, 2000}
    assert len(specs) == len(CUTS) * 3 * 5


@pytest.mark.parametrize(
    ("recipe", "base"),
    [("full,train-items=500", "full"), ("quick,epochs=4,train-items=64", "quick,epochs=4"), ("full", "full")],
)
def test_the_curves_are_of_the_recipe_without_its_number_of_items(recipe: str, base: str) -> None:
    assert base_recipe(recipe) == base


def fill(store: Store, sizes: dict[str, float], *names: str) -> None:
    """Three seeds of these cuts with each recipe, whose whole model has the score."""
    for recipe, score in sizes.items():
        for seed in range(3):
            for number, name in enumerate(names):
                one = spec_of(plan_kept(MODEL, CUTS[name]), TASK, recipe, seed)
                finish(store, one, score - 0.03 * number + 0.002 * seed)


@pytest.mark.slow
@pytest.mark.usefixtures("content_streamlit")
def test_tasks_draws_a_line_for_each_cut_and_the_bag_of_words_at_each_size(scored: Store) -> None:
    sizes = {"full": 0.82, "full,train-items=500": 0.74, "full,train-items=500,epochs=9": 0.1, "quick": 0.2}
    fill(scored, sizes, "whole model", "top, 3 dropped")
    made.save(scored, [0.73], "full")
    made.save(scored, [0.65, 0.66, 0.64], "full,train-items=500")
    app = opened("tasks", tasks="rotten-tomatoes")
    said = words(app).replace("\\", "")
    assert "with 500 and with 4,738 train items: top, 3 dropped: 3.0 (" in said
    (chart,) = (one for one in charts(app) if "train items" in str(one["layer"][-1]["encoding"]["x"]))
    points = chart.get("data", chart["layer"][-1].get("data"))["values"]
    assert {(row["cut"], row["items"]) for row in points} == {
        (cut, size) for cut in ("whole model", "top, 3 dropped", BAG_OF_WORDS) for size in (500, 4738)
    }
    table = app.dataframe[-1].value
    bags = table[table["what"] == BAG_OF_WORDS].set_index("train items")["accuracy"]
    assert bags.round(1).to_dict() == {500: 65.0, 4738: 73.0}
    (commands,) = (block.value for block in app.code if "train-items" in block.value)
    assert [line.partition("--recipe ")[2] for line in commands.splitlines()] == [
        "full,train-items=1000",
        "full,train-items=2000",
    ]
    assert "--strategies top,even-alternate --drops 2,3" in commands


@pytest.mark.slow
@pytest.mark.usefixtures("content_streamlit")
def test_tasks_says_once_that_there_is_nothing(scored: Store) -> None:
    fill(scored, {"full": 0.82}, "whole model", "top, 3 dropped")
    said = words(opened("tasks", tasks="rotten-tomatoes"))
    assert said.count("Not measured: this needs runs with at least 2 numbers of train items.") == 1
