"""Measurements of layers on their way: asked for once, taken, cancelled, lost, failed; by command, by a real worker."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest

from pmb.catalog.models import MODELS
from pmb.catalog.tasks import TASKS
from pmb.lab import probes
from pmb.lab.plan import plan_whole, scores_identity, spec_of
from pmb.lab.schema import layer_probes
from pmb.lab.store import Row, Store, save_layer_scores
from pmb.settings import Settings
from pmb.spec import LayerProbe, Progress, progress_count
from tests.layer_results import ask_for_probe, finish_probe, layer_probe
from tests.test_cli import pmb

pytestmark = pytest.mark.both_databases

MODEL, TASK = MODELS["minilm-l6"], TASKS["rotten-tomatoes"]
TRAINING = Progress("training", 10, 250, 0.5, 42.4)


def the_row(store: Store, key: str) -> Row:
    (row,) = probes.probes_by_key(store, [key])
    return row


def test_asking_twice_is_one_row_under_the_key_of_the_whole_models_run(store: Store, settings: Settings) -> None:
    first = probes.ask_for(store, settings, MODEL, TASK, "full", [0, 1])
    assert probes.ask_for(store, settings, MODEL, TASK, "full", [0, 1, 2])[:2] == first
    assert first[0] == spec_of(plan_whole(MODEL), TASK, "full", 0).key
    assert [row["seed"] for row in probes.asked_probes(store)] == [0, 1, 2]


def test_a_worker_takes_the_oldest_and_no_other_takes_it_while_it_is_renewed(store: Store) -> None:
    first, second = ask_for_probe(store, seed=3), ask_for_probe(store, seed=1)
    taken = probes.take(store)
    assert taken is not None
    assert (taken.key, taken.seed, taken.kept_layers) == (first, 3, (0, 1, 2, 3, 4, 5))
    other = probes.take(store)
    assert other is not None
    assert other.key == second
    assert probes.take(store) is None
    assert probes.renew(store, first, TRAINING)
    assert probes.waiting_line(store, [first, second]) == "0 of 2 done  starting"
    assert probes.progress_text(the_row(store, first)) == "training, step 10 of 250, 42 s left"


def test_what_a_silent_worker_held_is_taken_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    key = ask_for_probe(store)
    assert probes.take(store)
    monkeypatch.setattr(probes, "LEASE_SECONDS", -1.0)
    time.sleep(0.01)
    again = probes.take(store)
    assert again is not None
    assert again.key == key


def test_what_a_worker_gives_back_waits_again(store: Store) -> None:
    key = ask_for_probe(store)
    assert probes.take(store)
    probes.give_back(store, key)
    assert probes.waiting_line(store, [key]) == "waiting"
    assert probes.take(store)


def test_a_cancelled_one_is_gone_and_its_result_comes_too_late(store: Store) -> None:
    key = ask_for_probe(store)
    assert probes.take(store)
    probes.cancel(store, [key])
    assert not probes.renew(store, key, TRAINING)
    probes.finish(store, key, layer_probe())
    assert probes.probes_by_key(store, [key]) == []
    done = finish_probe(store)
    probes.cancel(store, [done])
    assert the_row(store, done)["state"] == "done"


def test_the_result_is_written_as_it_was_measured(store: Store) -> None:
    row = the_row(store, finish_probe(store))
    names = LayerProbe.__dataclass_fields__
    assert LayerProbe.from_dict({name: row[name] for name in names}) == layer_probe()
    assert probes.probes_of(store, MODEL, TASK, "full") == [row]
    assert probes.probes_of(store, MODEL, TASK, "quick") == []
    assert probes.waiting_line(store, [row["key"]]) is None


def test_one_that_failed_is_asked_for_again_and_one_that_is_done_is_not(store: Store, settings: Settings) -> None:
    key, done = ask_for_probe(store), finish_probe(store, seed=1)
    probes.fail(store, key, "The loss became nan.")
    assert the_row(store, key)["error"] == "The loss became nan."
    probes.ask_for(store, settings, MODEL, TASK, "full", [0, 1])
    assert the_row(store, key)["state"] == "asked"
    assert the_row(store, done)["state"] == "done"


def test_a_recipe_whose_values_have_changed_is_another_one(store: Store) -> None:
    finish_probe(store)
    with store.connect() as connection:
        connection.execute(layer_probes.update().values(recipe_values={"name": "standard"}))
    assert probes.probes_of(store, MODEL, TASK, "full") == []


def test_reading_counts_examples() -> None:
    progress = {"phase": "reading the layers before training", "step": 500, "steps": 4000}
    assert progress_count(progress) == "500 of 4000 examples"


def test_a_cached_answer_prints_the_sentence_and_a_row_a_layer(settings: Settings, store: Store) -> None:
    for seed in range(3):
        finish_probe(store, seed=seed)
    save_layer_scores(
        store, scores_identity(spec_of(plan_whole(MODEL), TASK, "quick", 0)), [0.92, 0.99, 0.98, 0.97, 0.96, 0.78]
    )
    said = pmb(settings, "probe").stdout.splitlines()
    assert said[0].startswith("Layer 5 changes the sentence token most, layer 1 least")
    assert said[2].split() == ["embeddings", "nan", "1.000", "50.0", "50.0"]
    assert said[8].split() == ["5", "0.220", "0.496", "80.4", "55.0"]
    values = json.loads(pmb(settings, "probe", "--seeds", "0,2", "--json").stdout)
    assert (values["model"], values["task"], values["recipe"]) == ("minilm-l6", "rotten-tomatoes", "full")
    assert [found["seed"] for found in values["seeds"]] == [0, 2]
    assert len(values["seeds"][0]["tuned"]) == 7
    assert values["contribution"][5] == 0.78


@pytest.mark.only_sqlite
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--recipe", "slow"), "There are: full, quick, standard, stable"),
        (("--model", "minilm"), "Did you mean 'minilm-l6'?"),
        (("--seeds", "0,x"), "'x' in '0,x' is not a whole number"),
    ],
)
def test_bad_input_is_one_line(settings: Settings, arguments: tuple[str, ...], words: str) -> None:
    ended = pmb(settings, "probe", *arguments)
    assert (ended.returncode, len(ended.stderr.splitlines()), ended.stdout) == (2, 1, "")
    assert words in ended.stderr


def test_cancel_by_command_takes_back_what_waits(settings: Settings, store: Store) -> None:
    ask_for_probe(store, seed=0)
    kept = ask_for_probe(store, seed=5)
    assert pmb(settings, "probe", "--cancel").returncode == 0
    assert [row["key"] for row in probes.asked_probes(store)] == [kept]


@pytest.mark.slow
@pytest.mark.only_sqlite
def test_by_command_a_worker_measures_the_real_model_on_a_table(
    home_with_assets: Settings, store: Store, tmp_path: Path
) -> None:
    rng = random.Random(0)
    words = ("good", "bad")
    lines = [f"a {words[i % 2]} film number {rng.randrange(999)},{words[i % 2]}" for i in range(60)]
    path = tmp_path / "films.csv"
    path.write_text("\n".join(["text,label", *lines]))
    arguments = ("probe", "--task", f"csv:{path}", "--recipe", "quick", "--seeds", "0", "--json")
    ended = pmb(home_with_assets, *arguments)
    assert ended.returncode == 0, ended.stderr
    values = json.loads(ended.stdout)
    (found,) = values["seeds"]
    assert (found["num_train"], found["num_dev"]) == (48, 12)
    assert found["tuned"][-1]["value"] == found["score"]["value"] == 1.0
    assert found["similarity"][0] > 0.9 > found["similarity"][-1]
    assert [round(value, 2) for value in values["contribution"][:3]] == [0.92, 0.99, 1.0]
    assert json.loads(pmb(home_with_assets, *arguments).stdout) == values
