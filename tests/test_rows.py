"""Rows that somebody edited by hand: left out and named, never an error, and no hindrance to the others."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import text

from pmb.catalog.models import MODELS
from pmb.catalog.tasks import TASKS
from pmb.errors import BadInput, PmbError
from pmb.lab import listing, probes, queue
from pmb.lab.answer import answer
from pmb.lab.dev import known_dev_labels, save_dev_labels
from pmb.lab.plan import identity_of_scores, known_layer_scores, scores_identity
from pmb.lab.previews import known_previews, save_preview
from pmb.lab.results import finished_runs, losses_of, measured_configurations, predictions_of, recent_runs
from pmb.lab.sources import known_models, known_tasks
from pmb.lab.store import (
    Store,
    damaged_rows,
    get_block_scores,
    get_run,
    list_latencies,
    list_runs,
    open_store,
    save_block_scores,
    save_latencies,
    save_layer_scores,
    write_shipped,
)
from pmb.lab.worker import timed_devices
from pmb.settings import Settings
from pmb.spec import Latency
from tests.app import FULL, finish
from tests.conftest import spec

KEY = spec((0, 1), 0, FULL).key
MODEL, TASK = MODELS["minilm-l6"], TASKS["rotten-tomatoes"]
DAMAGES: dict[str, list[Any]] = {
    "predictions": ["[1, 0", '"ten"', "[1, 0]", '[1, "a"]', "[1e300]", "null", "[[[[" * 9000, b"\xff\xfe"],
    "kept_layers": ["[0, 9]", "[1, 0]", "[]", '"0,1"', "{}", "[true]", "[0.5]", "7", b"\x00"],
    "recipe_values": ["{}", "[]", "no", '{"name": 1}', "null"],
    "num_hidden_layers": [-1, 10**9, "six", 2.5],
    "seed": [-1, 2**40, "one"],
    "score": ["high", 9e999, 70, None, b"\x01"],
    "scores": ["{}", "[]", '[{"metric": "accuracy"}]', '[{"metric": "x", "value": 0, "low": 0, "high": 0}]'],
    "metric": ["beauty", None, 7],
    "num_dev": [0, -5, "many", 3],
    "state": ["finished", "", b"\xff"],
    "source": ["heaven"],
    "procedure": ["pray"],
    "finished_at": [1e300, "yesterday", None, -1],
    "started_at": [9e18, "noon"],
    "parameters": [None, -1, "all"],
    "device": [None, b"\xff"],
    "versions": ["[]", '{"torch": 2}'],
    "losses": ['["low"]', "7"],
    "progress": ['{"phase": 1}', '{"phase": "training", "more": 1}'],
    "model": [b"\xff\xfe"],
}
CASES: list[tuple[str, Any]] = [(column, value) for column, values in DAMAGES.items() for value in values]


@pytest.fixture
def two_runs(store: Store) -> Store:
    """A store with two finished runs, of which the first is to be damaged."""
    finish(store, spec((0, 1), 0, FULL), 0.7)
    finish(store, spec((0, 1, 2, 3, 4, 5), 0, FULL), 0.8)
    return store


def edit(store: Store, column: str, value: Any, table: str = "runs", where: str = "key = :key") -> None:
    """Write the value into a row, past everything that would keep it out."""
    with store.connect() as connection:
        if connection.dialect.name == "sqlite":
            connection.execute(text("PRAGMA ignore_check_constraints = ON"))
        change = f"UPDATE {table} SET {column} = :value WHERE {where}"  # noqa: S608 (names of this file)
        connection.execute(text(change), {"value": value, **({"key": KEY} if ":key" in where else {})})


@pytest.mark.parametrize(("column", "value"), CASES)
def test_a_damaged_run_is_left_out_everywhere_and_named(two_runs: Store, column: str, value: Any) -> None:
    store = two_runs
    edit(store, column, value)
    assert len(damaged_rows(store, everything=True)) == 1
    (named,) = damaged_rows(store)
    assert named.startswith(f"run {KEY[:12]} (")
    assert "\n" not in named
    assert get_run(store, KEY) is None
    for rows in (list_runs(store), finished_runs(store, MODEL, TASK, "standard"), recent_runs(store, 9)):
        assert all(row["key"] != KEY or column in ("predictions", "num_dev") or column not in row for row in rows)
    measured_configurations(store, TASK)
    assert KEY not in predictions_of(store, [KEY], TASK, 6000) or column not in ("predictions", "num_dev")
    losses_of(store, [KEY])
    listing.count_states(store)
    assert sum(row["count"] for row in listing.count_by_kind(store)) in (1, 2)
    assert listing.count_runs(store, listing.Filter(words="0,1")) in (0, 1)
    for order in listing.ORDERS:
        listing.runs_in_order(store, listing.list_keys(store, listing.Filter(), order))
    list(listing.exported_runs(store, listing.Filter()))
    with pytest.raises(BadInput, match=f"The row of run {KEY[:12]} in the store is damaged"):
        answer(store, KEY, cached=True)


def test_a_damaged_run_that_is_asked_for_again_is_run_again(two_runs: Store) -> None:
    edit(two_runs, "predictions", "[1, 0")
    assert [s.state for s in queue.submit(two_runs, [spec((0, 1), 0, FULL)])] == ["queued"]
    assert damaged_rows(two_runs, everything=True) == []


def test_a_row_that_is_mended_is_told_no_more(two_runs: Store) -> None:
    edit(two_runs, "score", "high")
    assert len(list_runs(two_runs)) == 1
    assert len(damaged_rows(two_runs)) == 1
    edit(two_runs, "score", 0.7)
    assert damaged_rows(two_runs) == []
    assert len(list_runs(two_runs)) == 2


def test_losses_that_were_no_numbers_are_no_damage(two_runs: Store) -> None:
    edit(two_runs, "losses", "[0.7, null]")
    assert damaged_rows(two_runs, everything=True) == []
    assert losses_of(two_runs, [KEY]) == {KEY: [0.7, None]}


@pytest.mark.parametrize(
    ("column", "value"), [("kept_layers", "[0, 9]"), ("recipe_values", "{"), ("seed", "one"), ("progress", "[")]
)
def test_a_damaged_run_in_the_queue_fails_and_holds_up_no_other(store: Store, column: str, value: Any) -> None:
    queue.submit(store, [spec((0, 1), 0, FULL), spec((0, 1, 2), 0, FULL)])
    edit(store, column, value)
    assert [waiting.kept_layers for waiting in queue.list_waiting(store)] == [(0, 1, 2)]
    claim = queue.claim(store, "worker")
    assert claim is not None
    if column != "progress":  # which a claim writes anew
        assert claim.spec.kept_layers == (0, 1, 2)
        with store.connect() as connection:
            (ended,) = connection.execute(text("SELECT state, error FROM runs WHERE key = :key"), {"key": KEY})
        assert ended.state == "failed"
        assert ended.error.startswith("The row of this run in the store is damaged: ")
        assert queue.claim(store, "worker") is None


@pytest.mark.parametrize(("column", "value"), [("recipe_values", "[1"), ("num_hidden_layers", "six"), ("seed", -1)])
def test_a_damaged_wish_for_a_measurement_fails(store: Store, settings: Settings, column: str, value: Any) -> None:
    (key,) = probes.ask_for(store, settings, MODEL, TASK, "standard", [0])
    edit(store, column, value, "layer_probes", "1 = 1")
    assert probes.asked_probes(store) == []
    assert probes.take(store) is None
    with store.connect() as connection:
        (ended,) = connection.execute(text("SELECT state, error FROM layer_probes WHERE key = :key"), {"key": key})
    assert ended.state == "failed"
    assert "is damaged in the store" in ended.error


SPEED = Latency(2, 32, 32, "cpu", 3.0, 2.9, 3.1, 9, 0.6, 0.2)


@pytest.mark.parametrize(("column", "value"), [("ratio", 0), ("low", "slow"), ("depth", 99999), ("device", b"\xff")])
def test_damaged_speed_is_left_out_and_measured_anew(two_runs: Store, column: str, value: Any) -> None:
    store = two_runs
    save_latencies(store, spec(), [SPEED])
    edit(store, column, value, "latencies", "1 = 1")
    assert list_latencies(store, MODEL.id, MODEL.revision) == []
    assert timed_devices(store, spec())[2] == []
    save_latencies(store, spec(), [SPEED])
    assert len(list_latencies(store, MODEL.id, MODEL.revision)) == 1


def test_speed_of_a_depth_that_the_model_has_not_is_passed_over(two_runs: Store) -> None:
    save_latencies(two_runs, spec(), [SPEED])
    edit(two_runs, "depth", 40, "latencies", "1 = 1")
    assert set(timed_devices(two_runs, spec())) == {1, 2, 3, 4, 5, 6}


@pytest.mark.parametrize("value", ["[0.1]", "[1, 2, 3", '["a", "b", "c", "d", "e", "f"]', "7"])
def test_damaged_contribution_is_measured_anew(store: Store, value: str) -> None:
    save_layer_scores(store, scores_identity(spec()), [0.1] * 6)
    edit(store, "scores", value, "layer_scores", "1 = 1")
    assert known_layer_scores(store, MODEL, TASK) is None
    assert len(damaged_rows(store)) == 1
    save_layer_scores(store, scores_identity(spec()), [0.2] * 6)
    assert known_layer_scores(store, MODEL, TASK) == (0.2,) * 6


@pytest.mark.parametrize("value", ["[0, 1, 7]", "[0.5]", "[]", "nothing"])
def test_damaged_labels_are_none(store: Store, value: str) -> None:
    save_dev_labels(store, TASK, [0, 1] * 3000)
    edit(store, "labels", value, "dev_labels", "1 = 1")
    assert known_dev_labels(store, TASK) is None
    assert damaged_rows(store)[0].startswith("dev labels of rotten-tomatoes")


def test_answers_that_the_task_does_not_have_are_left_out(two_runs: Store) -> None:
    edit(two_runs, "predictions", json.dumps([0, 9] * 3000))
    assert predictions_of(two_runs, [KEY], TASK, 6000) == {}
    assert "9 among predictions is none of 2 labels" in damaged_rows(two_runs)[0]


@pytest.mark.parametrize(
    ("column", "value"), [("facts", "{}"), ("facts", "no"), ("notes", "7"), ("name", b"\xff"), ("kind", "thing")]
)
def test_what_is_known_of_a_model_is_found_out_anew_where_it_is_damaged(store: Store, column: str, value: Any) -> None:
    facts = json.dumps({"id": "m", "title": "m", "architecture": "bert", "num_hidden_layers": 0})
    row = {"kind": "model", "name": "m", "facts": facts, "notes": "[]"}
    with store.connect() as connection:
        names = "kind, name, fingerprint, facts, notes, inspected_at"
        values = "(:kind, :name, 'f', :facts, :notes, 1)"
        connection.execute(text(f"INSERT INTO sources ({names}) VALUES {values}"), row | {column: value})  # noqa: S608
    known_models(store), known_tasks(store)
    assert len(damaged_rows(store, everything=True)) == 1


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"kept_layers": [9]}, "Kept layer 9 is outside the model"),
        ({"score": None}, "it is done and score is missing"),
        ({"model": None}, "model is missing"),
        ({"predictions": 7}, "expected|int"),
        ({"seed": "0"}, "expected `int`, got `str`"),
    ],
)
def test_shipped_lines_are_held_to_the_same_and_name_their_file(
    two_runs: Store, settings: Settings, change: dict[str, Any], sentence: str
) -> None:
    write_shipped(two_runs, settings.shipped)
    path = settings.shipped / "runs.jsonl"
    first, *rest = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps(json.loads(first) | change), *rest]))
    with pytest.raises(PmbError, match=rf"runs.jsonl is damaged \(.*({sentence}).*git checkout"):
        open_store(settings)


def test_shipped_lines_may_lack_columns_and_have_others(two_runs: Store, settings: Settings) -> None:
    write_shipped(two_runs, settings.shipped)
    path = settings.shipped / "runs.jsonl"
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    for name in ("scores", "fast", "procedure", "attempts", "started_by"):
        first.pop(name, None)
    path.write_text(f"{json.dumps(first)}\n{json.dumps(second | {'of a later version': 1})}\n")
    with two_runs.connect() as connection:
        connection.execute(text("DELETE FROM runs"))
    open_store(settings).close()
    assert {row["procedure"] for row in list_runs(two_runs)} == {"cut-tune"}
    assert len(list_runs(two_runs)) == 2


def test_a_row_that_another_has_replaced_is_told_no_more(two_runs: Store) -> None:
    edit(two_runs, "predictions", "[9]")
    edit(two_runs, "num_dev", 1)
    assert predictions_of(two_runs, [KEY], TASK, 6000) == {}
    edit(two_runs, "state", "failed")
    queue.retry(two_runs, [KEY])
    edit(two_runs, "predictions", None)
    assert damaged_rows(two_runs) == []


def test_a_damaged_preview_or_layer_score_is_left_out_and_may_be_measured_again(store: Store) -> None:
    """Both are remembered by strategy or cut: of those the others stay, and what is measured anew takes the place."""
    identity, depth = identity_of_scores(MODEL, TASK), MODEL.num_hidden_layers
    blocks = {"block-influence": [0.5] * depth, "angular": [[0.1] * size for size in range(depth, 1, -1)]}
    save_block_scores(store, identity, blocks)
    for kept in ([0], [0, 1]):
        save_preview(store, MODEL, TASK, {"kept": kept, "score": 0.7, "computed_on": "cpu"})

    edit(store, "scores", "[[0.1], 0.2]", "block_scores", "strategy = 'angular'")
    edit(store, "kept", "0,,1", "previews", "kept = '0,1'")
    assert get_block_scores(store, identity, depth) == {"block-influence": blocks["block-influence"]}
    assert list(known_previews(store, MODEL, TASK)) == [(0,)]
    assert {name.split(" of ")[0] for name in damaged_rows(store)} == {"layer scores", "preview"}

    save_block_scores(store, identity, blocks)
    save_preview(store, MODEL, TASK, {"kept": [0, 1], "score": 0.7, "computed_on": "cpu"})
    assert get_block_scores(store, identity, depth) == blocks
    assert list(known_previews(store, MODEL, TASK)) == [(0,), (0, 1)]
