"""Zero layers: a bag of words and a constant answer, fitted on a run's train items, remembered, shown and shipped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pmb.catalog.recipes import RECIPES, find_recipe
from pmb.catalog.tasks import TASKS
from pmb.engine import bag_of_words
from pmb.engine.examples import Example
from pmb.engine.run import measure_zero_layers
from pmb.errors import NotAllowed
from pmb.insight import summary
from pmb.insight.zero_layers import beats, nothing_shown_sentence, zero_layer_scores, zero_layer_sentence
from pmb.lab import child, executors, queue, worker, zero_layers
from pmb.lab.store import Store, damaged_rows, list_runs, open_store, write_shipped
from pmb.settings import Settings
from pmb.spec import RunSpec
from tests import zero_layers as made
from tests.app import FULL, finish
from tests.conftest import result, spec
from tests.test_cli import pmb
from tests.test_rows import edit

TASK = TASKS["rotten-tomatoes"]
SENTENCES = [Example((text,), label) for text, label in [("a good film", 1), ("a bad film", 0)] * 10]
WORDS = ("car", "sky", "tree", "house", "sea", "road")
PAIRS = [Example((one, other), 5.0 if one == other else 0.0) for one in WORDS for other in (one, *WORDS)]
STANDARD = RECIPES["standard"]


# =============================================================================
# How they are fitted
# =============================================================================


def test_a_bag_of_words_learns_which_words_go_with_a_label() -> None:
    dev = [Example(("good good acting",), 1), Example(("a bad plot",), 0), Example(("bad",), 1)]
    found = bag_of_words.zero_layers(TASK, SENTENCES, {"": dev})
    assert [score.metric for score in found.bag_of_words] == ["accuracy"]
    assert found.bag_of_words[0].value == pytest.approx(2 / 3)
    assert found.constant[0].value == pytest.approx(1 / 3)  # as many of each: the lowest label
    assert (found.num_train, found.num_dev) == (20, 3)


def test_of_pairs_it_sees_which_words_both_share() -> None:
    task = TASKS["stsb"]
    seen = [Example(("sky road", "sky road"), 5.0), Example(("sky road", "car tree"), 0.0), Example(("sea", "?"), 0.0)]
    alike, apart, other = bag_of_words.fit_bag_of_words(PAIRS, classes=False)(seen)
    assert alike > max(apart, other) + 1
    found = bag_of_words.zero_layers(task, PAIRS, {"": seen})
    assert [score.metric for score in found.bag_of_words] == ["pearson", "spearman"]
    assert found.bag_of_words[0].value > 0.9
    assert found.constant[0].value == 0
    assert bag_of_words.constant_answer(PAIRS, classes=False) == pytest.approx(5 * 2 / 7)


@pytest.mark.parametrize(
    "train", [[Example(("?!", "…"), label) for label in (0, 1, 1)], [Example((word,), 1) for word in ("a", "b")]]
)
def test_where_nothing_can_be_learnt_it_gives_the_commonest_answer(train: Sequence[Example]) -> None:
    assert bag_of_words.fit_bag_of_words(train, classes=True)([train[0]] * 2) == [1, 1]


def test_another_dev_set_has_its_name_with_its_score() -> None:
    found = bag_of_words.zero_layers(TASKS["mnli"], SENTENCES, {"": SENTENCES, "mismatched": SENTENCES[:2]})
    assert [score.metric for score in found.constant] == ["accuracy", "accuracy, mismatched"]


@pytest.mark.slow
def test_on_the_embedded_task_it_is_above_chance_and_below_every_fine_tuned_model(assets_folder: Path) -> None:
    scores = [
        measure_zero_layers(TASK, find_recipe("standard", made.MODEL, TASK), seed, assets_folder, lambda _: None)
        for seed in (0, 0, 1)
    ]
    first, again, other = (found.bag_of_words[0].value for found in scores)
    assert first == again != other
    assert 0.65 < first < 0.75
    assert scores[0].constant[0].value == 0.5
    assert (scores[0].num_train, scores[0].num_dev) == (2000, 6000)


# =============================================================================
# Remembered, and measured with a run
# =============================================================================


def test_they_are_remembered_by_the_train_items_and_not_by_the_model(store: Store) -> None:
    made.save(store, [0.70, 0.71], "standard")
    made.save(store, [0.73], "full")
    standard, full = (find_recipe(name, made.MODEL, TASK) for name in ("standard", "full"))
    assert [row["sample"] for row in zero_layers.zero_layers_of(store, TASK, standard)] == ["seed 0", "seed 1"]
    assert [row["sample"] for row in zero_layers.zero_layers_of(store, TASK, full)] == ["all"]
    of_another_rate = replace(standard, learning_rate=0.1)
    known = zero_layers.known(store, TASK, of_another_rate, 1)
    assert known is not None
    assert known["bag_of_words"][0]["value"] == 0.71
    assert zero_layers.known(store, TASK, standard, 2) is None
    assert zero_layers.known(store, TASK, full, 2) == zero_layers.known(store, TASK, full, 0)
    assert zero_layers.known(store, replace(TASK, revision="other"), full, 0) is None
    in_order = replace(standard, train_sample="first")
    assert [recipe.sample(TASK.train_examples, 3) for recipe in (standard, full, in_order)] == [
        "seed 3",
        "all",
        "first",
    ]


class Scripted:
    """A child that answers a run at once; it keeps the job."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.messages = list(messages)
        self.job: dict[str, Any] = {}

    def take(self) -> Scripted:
        return self

    def send(self, job: dict[str, Any]) -> None:
        self.job = job

    def receive(self, seconds: float) -> dict[str, Any]:
        return self.messages.pop(0)

    def nothing(self, *_: object) -> None:
        pass

    warm_up_for = end = prepare = nothing


def test_a_run_measures_them_where_they_are_missing(store: Store, settings: Settings) -> None:
    measured = asdict(made.measured(0.7))
    answer = {"result": asdict(result()), "latencies": [], "zero_layers": measured}
    wanted: list[bool] = []
    for seed, message in ((0, answer), (0, answer | {"zero_layers": None}), (1, answer | {"zero_layers": None})):
        queue.submit(store, [spec(tuple(range(len(wanted) + 1)), seed, STANDARD)])
        scripted = Scripted(message)
        run_by(store, settings, scripted)
        wanted.append(scripted.job["zero_layers"])
    assert wanted == [True, False, True]
    known = zero_layers.known(store, TASK, STANDARD, 0)
    assert known is not None
    assert known["bag_of_words"] == list(measured["bag_of_words"])
    assert zero_layers.known(store, TASK, STANDARD, 1) is None


def run_by(store: Store, settings: Settings, scripted: Scripted) -> None:
    claim = queue.claim(store, "worker")
    assert claim is not None
    stopwatch: Any = SimpleNamespace(note=lambda spec: None, heart=SimpleNamespace(renew_seconds=0.5))
    job = {"threads": 1, "alone": True}
    worker._run(store, settings, "worker", claim, job, scripted, stopwatch, SimpleNamespace(is_set=lambda: False))  # type: ignore[arg-type]


def test_a_run_is_not_lost_where_they_cannot_be_measured(tmp_path: Path) -> None:
    def broken(*_: object) -> None:
        raise ValueError("no words at all")

    engine = SimpleNamespace(
        use_threads=lambda threads: None, run=lambda *_: result(), measure_zero_layers=broken, measure_latency=broken
    )
    sent: list[dict[str, Any]] = []
    one = RunSpec.from_dict(spec().to_dict())
    job = {"kind": "run", "spec": one.to_dict(), "assets": str(tmp_path), "threads": 1, "alone": True}
    job |= {"timed_devices": [], "zero_layers": True, "model": asdict(made.MODEL), "task": asdict(TASK)}
    answer = child.do(job, engine, sent.append)
    assert answer["result"]["score"] == 0.8
    assert (answer["zero_layers"], answer["latencies"]) == (None, [])
    assert sent[0]["timing"]
    assert sent[0]["result"] == answer["result"]


def test_a_damaged_row_is_left_out_and_may_be_measured_again(store: Store) -> None:
    made.save(store, [0.7, 0.71], "standard")
    edit(
        store,
        "bag_of_words",
        '[{"metric": "luck", "value": 1, "low": 1, "high": 1}]',
        "zero_layers",
        "sample = 'seed 0'",
    )
    assert [row["sample"] for row in zero_layers.zero_layers_of(store, TASK, STANDARD)] == ["seed 1"]
    assert damaged_rows(store) == [
        f"zero layers of rotten-tomatoes {TASK.revision} 2000 seed 0 (bag_of_words: metric 'luck' is not known here)"
    ]
    made.save(store, [0.72], "standard")
    known = zero_layers.known(store, TASK, STANDARD, 0)
    assert known is not None
    assert known["bag_of_words"][0]["value"] == 0.72


def test_they_are_shipped(store: Store, settings: Settings, tmp_path: Path) -> None:
    made.save(store, [0.7, 0.71], "standard")
    assert write_shipped(store, tmp_path / "shipped")["zero_layers"] == 2
    other = open_store(Settings(tmp_path / "other", "", "local", tmp_path / "shipped", None))
    rows = zero_layers.zero_layers_of(other, TASK, STANDARD)
    assert [(row["bag_of_words"][0]["value"], row["source"]) for row in rows] == [(0.7, "shipped"), (0.71, "shipped")]
    other.close()


def answering(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Have no child process measure; returns the jobs that were asked for."""
    jobs: list[dict[str, Any]] = []

    def ask(job: dict[str, Any], report: object) -> dict[str, Any]:
        jobs.append(job)
        return {"zero_layers": [asdict(made.measured(0.7 + seed / 100)) for seed in job["seeds"]]}

    monkeypatch.setattr(executors, "ask", ask)
    return jobs


def test_the_command_measures_what_is_missing_and_prints_all(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = answering(monkeypatch)
    made.save(store, [0.69], "standard")
    printed = pmb(settings, "baseline", "--recipe", "standard", "--seeds", "0,2")
    assert printed.returncode == 0, printed.stderr
    assert [job["seeds"] for job in jobs] == [[2]]
    assert "train items: 2,000 (seed 2)\n  accuracy  bag of words 72.0 % (71.0 to 73.0), one answer to all 50.0 %" in (
        printed.stdout
    )
    again = json.loads(pmb(settings, "baseline", "--recipe", "standard", "--seeds", "0,2", "--json").stdout)
    assert len(jobs) == 1
    assert [row["bag_of_words"][0]["value"] for row in again["samples"]] == [0.69, pytest.approx(0.72)]
    assert len(json.loads(pmb(settings, "baseline", "--json").stdout)["samples"]) == 1  # all train items: one for all
    wrong = pmb(settings, "baseline", "--recipe", "ful")
    assert wrong.returncode == 2
    assert "'ful'" in wrong.stderr


def test_who_may_only_look_measures_nothing(store: Store, settings: Settings) -> None:
    reader = store.reader("only look")
    made.save(store, [0.69], "standard")
    assert len(zero_layers.measure(reader, settings, TASK, STANDARD, [0])) == 1
    with pytest.raises(NotAllowed):
        zero_layers.measure(reader, settings, TASK, STANDARD, [0, 1])
    reader.close()


def test_shipping_measures_what_finished_runs_lack(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = answering(monkeypatch)
    for seed in range(3):
        finish(store, spec((0, 1), seed, STANDARD), 0.7)
    finish(store, spec((0, 1), 0, FULL), 0.7)
    finish(store, replace(spec((0, 1), 0, FULL), task_revision="of yesterday"), 0.7)
    zero_layers.measure_for_runs(store, settings, TASK, list_runs(store, "done"))
    assert sorted(job["seeds"] for job in jobs) == [[0], [0, 1, 2]]


# =============================================================================
# What they say of a cut
# =============================================================================


def rows_of(bags: Sequence[float]) -> list[dict[str, Any]]:
    return [asdict(made.measured(bag)) for bag in bags]


def configurations(scores: dict[int, Sequence[float]]) -> list[dict[str, Any]]:
    """Configurations of the lowest layers, by their number, with a score a seed."""
    facts = {"num_hidden_layers": 6, "metric": "accuracy", "scores": None, "num_dev": 1000, "parameters": 10**6}
    facts |= {"megabytes": 4.0, "train_seconds": 1.0, "source": "measured", "device": "d", "finished_at": 0.0}
    runs = [
        facts | {"kept_layers": list(range(depth)), "seed": seed, "score": score}
        for depth, of_seeds in scores.items()
        for seed, score in enumerate(of_seeds)
    ]
    return [{str(k): v for k, v in row.items()} for row in summary.configurations(runs).to_dict("records")]


def test_the_mean_over_samples_has_an_interval_and_a_single_one_that_over_dev() -> None:
    several = zero_layer_scores(rows_of([0.70, 0.72]), "accuracy")
    assert several is not None
    assert several.bag_of_words.mean == pytest.approx(0.71)
    assert several.bag_of_words.over == "seeds"
    one = zero_layer_scores(rows_of([0.70]), "accuracy")
    assert one is not None
    assert one.bag_of_words.low == pytest.approx(0.69)
    assert one.bag_of_words.over == "dev examples"
    assert zero_layer_sentence(one) == "Zero layers: a bag of words scores 70.0 ± 1.0 %, one answer to all 50.0 %."
    assert zero_layer_scores([], "accuracy") is None
    assert zero_layer_scores(rows_of([0.7]), "pearson") is None
    assert zero_layer_sentence(None) == ""


def test_a_cut_that_does_not_clearly_beat_the_bag_of_words_has_shown_nothing() -> None:
    rows = configurations({6: (0.80, 0.81, 0.80), 3: (0.78, 0.77, 0.78), 2: (0.70, 0.72, 0.75), 1: (0.6, 0.61, 0.6)})
    for bags in ([0.71], [0.71, 0.715, 0.70]):
        zero = zero_layer_scores(rows_of(bags), "accuracy")
        assert zero is not None
        better = {len(row["kept_layers"]): beats(row, zero.bag_of_words) for row in rows}
        assert better == {6: True, 3: True, 2: False, 1: False}
        sentence = nothing_shown_sentence(rows, zero)
        assert sentence.startswith("2 cuts do not clearly beat the bag of words (7")
        assert sentence.endswith("and so have shown nothing: kept 0 1 (72.3), 0 (60.3).")
    only_good = configurations({6: (0.8, 0.81), 3: (0.78, 0.781)})
    high = zero_layer_scores(rows_of([0.5]), "accuracy")
    assert nothing_shown_sentence(only_good, high) == nothing_shown_sentence(rows, None) == ""


def test_a_single_seed_is_judged_by_its_interval_over_the_dev_examples() -> None:
    (row,) = configurations({2: (0.75,)})
    near, far = (zero_layer_scores(rows_of([bag]), "accuracy") for bag in (0.73, 0.71))
    assert near is not None
    assert far is not None
    assert (beats(row, near.bag_of_words), beats(row, far.bag_of_words)) == (False, True)
