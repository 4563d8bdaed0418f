"""How long runs will take: parameters of layers from the whole, and seconds by work."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from pmb.catalog.recipes import RECIPES
from pmb.catalog.tasks import TASKS
from pmb.insight.estimate import (
    duration,
    layer_parameters,
    run_seconds,
    seconds_left,
    seconds_per_work,
    tokens_an_example,
    work,
)


@pytest.mark.parametrize(
    ("parameters", "layers", "in_layers"),
    [(22_713_216, 6, 10_646_784), (108_310_272, 12, 85_054_464), (335_141_888, 24, 302_309_376)],
)
def test_the_layers_share_of_an_encoder_is_right_to_a_tenth(parameters: int, layers: int, in_layers: int) -> None:
    """The true numbers: 12 h² + 13 h a layer, of MiniLM-L6, BERT base and BERT large."""
    assert layer_parameters(parameters, layers) == pytest.approx(in_layers, rel=0.1)


def test_a_layer_takes_as_long_as_another_but_for_half_of_the_last() -> None:
    recipe = asdict(RECIPES["standard"])
    run = {"recipe_values": recipe, "whole_model_parameters": 22_000_000, "num_hidden_layers": 6}
    rate = seconds_per_work([run | {"kept_layers": [0, 1, 2], "started_at": 100.0, "finished_at": 130.0}])
    assert rate is not None
    assert rate * work(recipe, 22_000_000, 6, 6) == pytest.approx(30.0 * 5.5 / 2.5)
    assert seconds_per_work([]) is None


def test_runs_side_by_side_count_the_clock_once() -> None:
    run = {"recipe_values": asdict(RECIPES["standard"]), "whole_model_parameters": 22_000_000, "num_hidden_layers": 6}
    run |= {"kept_layers": [0, 1, 2]}
    alone = seconds_per_work([run | {"started_at": 0.0, "finished_at": 60.0}])
    both = [run | {"started_at": 0.0, "finished_at": 60.0}, run | {"started_at": 10.0, "finished_at": 50.0}]
    assert alone is not None
    assert seconds_per_work(both) == pytest.approx(alone / 2)


def test_the_time_of_a_queue_counts_what_is_done_and_is_unknown_with_a_model_of_unknown_size() -> None:
    row = {"model": "m", "recipe_values": asdict(RECIPES["standard"]), "num_hidden_layers": 6, "kept_layers": [0, 1]}
    half = {"phase": "training", "step": 5, "steps": 10}
    one = seconds_left([row | {"progress": None}], 1.0, {"m": 22_000_000})
    assert one is not None
    assert seconds_left([row | {"progress": half}], 1.0, {"m": 22_000_000}) == pytest.approx(one / 2)
    assert seconds_left([row | {"progress": None, "count": 3}], 1.0, {"m": 22_000_000}) == pytest.approx(3 * one)
    assert seconds_left([row | {"progress": None}], 1.0, {}) is None
    assert seconds_left([row | {"progress": None}], None, {"m": 22_000_000}) is None


@pytest.mark.parametrize(
    ("seconds", "said"), [(3, "10 s"), (64, "60 s"), (3000, "50 min"), (9000, "2.5 h"), (72_000, "20 h")]
)
def test_durations_are_rounded_as_people_say_them(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_a_run_takes_as_long_as_those_of_its_task_on_this_machine() -> None:
    run = {"model": "m", "task": "t", "recipe_values": asdict(RECIPES["standard"]), "num_hidden_layers": 6}
    run |= {"kept_layers": [0, 1, 2], "whole_model_parameters": 22_000_000, "machine": "one thread"}
    ended = [run | {"total_seconds": seconds} for seconds in (50.0, 60.0)]
    ended += [run | {"total_seconds": 500.0, "kept_layers": [0, 1, 2, 3, 4, 5]}]  # farther from it in work
    ended += [run | {"task": "long sentences", "total_seconds": 600.0}, run | {"machine": "two", "total_seconds": 5.0}]
    assert run_seconds(run, ended, {}) == pytest.approx(55.0)
    assert run_seconds(run | {"kept_layers": [0]}, ended, {}) == pytest.approx(55.0 * 0.5 / 2.5)
    whole = run_seconds(run | {"kept_layers": [0, 1, 2, 3, 4, 5]}, ended, {})
    assert whole == pytest.approx((500.0 + 50.0 * 5.5 / 2.5) / 2)
    assert run_seconds(run | {"task": "new"}, ended, {}) == pytest.approx(55.0)
    assert run_seconds(run | {"model": "other"}, ended, {}) is None


def test_the_first_run_of_a_task_is_judged_by_how_long_its_sentences_are() -> None:
    short, long = TASKS["cola"], TASKS["rte"]
    run = {"model": "m", "task": "cola", "recipe_values": asdict(RECIPES["standard"]), "num_hidden_layers": 6}
    run |= {"kept_layers": [0, 1, 2], "whole_model_parameters": 22_000_000, "machine": "one thread"}
    ended = [run | {"total_seconds": 50.0}, run | {"task": "unknown", "total_seconds": 9000.0}]
    found = run_seconds(run | {"task": "rte"}, ended, TASKS)
    recipe = asdict(RECIPES["standard"])
    assert found == pytest.approx(50.0 * tokens_an_example(recipe, long) / tokens_an_example(recipe, short))
    assert found is not None
    assert 100 < found < 150  # RTE's pairs are eight times as long, and a step takes something besides
    assert run_seconds(run | {"task": "qnli"}, ended[:1], TASKS) == pytest.approx(50.0)  # nobody knows how long
    few = replace(long, id="few", train_examples=200)
    assert run_seconds(run | {"task": "few"}, ended, TASKS | {"few": few}) == pytest.approx(found / 10, rel=0.4)
