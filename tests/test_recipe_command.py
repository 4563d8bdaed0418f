"""A recipe of one's own by command and from Python: refused in a sentence, made again by the command that is shown."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

import pmb as lab
from pmb.catalog.models import MODELS
from pmb.catalog.recipes import SETTINGS, find_recipe
from pmb.catalog.tasks import TASKS
from pmb.errors import BadInput
from pmb.insight.card import Subject, model_card
from pmb.lab.answer import answer, command_of, search_command, sweep_command
from pmb.lab.plan import plan_kept, scores_identity, spec_of
from pmb.lab.reproduce import read_table
from pmb.lab.store import Store, get_run, list_runs, save_layer_scores
from pmb.settings import Settings
from pmb.spec import RunSpec
from tests.app import finish
from tests.conftest import spec
from tests.test_cli import pmb

MODEL, TASK = MODELS["minilm-l6"], TASKS["rotten-tomatoes"]
RECIPES = (
    "full,epochs=8",
    "quick,learning-rate=5e-5,dropout=0.25",
    "stable,batch-size=32,train-items=777,max-length=200,class-weights=yes",
    "full,learning-rate=1.23456789012345e-05",  # more digits than a text keeps
)
WRONG = (
    (("--epochs", "0"), "epochs '0' is not allowed; write a whole number from 1 to 100."),
    (("--epochs", "2.5"), "epochs '2.5' is not allowed; write a whole number from 1 to 100."),
    (("--learning-rate", "0.1"), "learning-rate '0.1' is not allowed; write a number from 1e-07 to 0.01."),
    (("--learning-rate", "fast"), "learning-rate 'fast' is not allowed; write a number from 1e-07 to 0.01."),
    (("--batch-size", "-8"), "batch-size '-8' is not allowed; write a whole number from 1 to 256."),
    (("--train-items", "7"), "train-items '7' is not allowed; write a whole number from 8 to 1000000."),
    (("--max-length", "9000"), "max-length '9000' is not allowed; write a whole number from 8 to 8192."),
    (("--max-length", "513"), "max-length 513 is not allowed: MiniLM-L6 reads at most 512 tokens."),
    (("--dropout", "0.95"), "dropout '0.95' is not allowed; write a number from 0 to 0.9."),
    (("--dropout", "x" * 5000), "is not allowed; write a number from 0 to 0.9."),
    (("--task", "stsb", "--class-weights"), "class-weights cannot be used on STS-B: its labels are numbers"),
    (("--recipe", "full,epochs=8,epoch=9"), "Unknown setting of a recipe 'epoch'. Did you mean 'epochs'?"),
    (("--recipe", "full,class-weights=maybe"), "class-weights 'maybe' is not allowed; write yes or no."),
)


def run_of(recipe: str) -> RunSpec:
    return spec_of(plan_kept(MODEL, (0, 1, 2)), TASK, recipe, 1)


def called(settings: Settings, command: str, *more: str) -> dict[str, object]:
    """What a command that is shown to people prints as JSON."""
    start, words = ["python", "-m", "pmb"], shlex.split(command)
    assert words[:3] == start
    ended = pmb(settings, *words[3:], *more, "--json")
    assert ended.returncode == 0, ended.stderr
    found: dict[str, object] = json.loads(ended.stdout)
    return found


@pytest.mark.parametrize(("options", "words"), WRONG)
@pytest.mark.parametrize("verb", [("run", "--drop", "0"), ("sweep", "--strategies", "top")])
def test_what_cannot_be_is_one_sentence_with_the_range(
    settings: Settings, store: Store, verb: tuple[str, ...], options: tuple[str, ...], words: str
) -> None:
    ended = pmb(settings, *verb, *options)
    assert ended.returncode == 2
    assert words in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert len(ended.stderr) < 300
    assert list_runs(store) == []


@pytest.mark.parametrize("verb", [("search",), ("probe",), ("preview",), ("baseline",)])
@pytest.mark.parametrize("recipe", ["full,epochs=0", "full,max-length=513", "fully"])
def test_other_verbs_refuse_it_in_the_recipes_text(
    settings: Settings, store: Store, verb: tuple[str, ...], recipe: str
) -> None:
    save_layer_scores(store, scores_identity(spec()), [0.2, 0.9, 0.8, 0.7, 0.6, 0.3])
    ended = pmb(settings, *verb, "--recipe", recipe)
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert any(words in ended.stderr for words in ("from 1 to 100", "at most 512 tokens", "Did you mean 'full'?"))


def test_options_are_the_same_as_a_recipes_text(settings: Settings, store: Store) -> None:
    recipe = (
        "full,epochs=8,learning-rate=3e-05,batch-size=32,train-items=99,max-length=64,dropout=0.2,class-weights=yes"
    )
    finish(store, run_of(recipe), 0.7)
    options = ["--epochs", "8", "--learning-rate", "0.00003", "--batch-size", "32", "--train-items", "99"]
    options += ["--max-length", "64", "--dropout", ".2", "--class-weights"]
    assert {f"--{name}" for name in SETTINGS} == {word for word in options if word.startswith("--")}
    ended = pmb(settings, "run", "--keep", "0,1,2", "--seed", "1", "--recipe", "full,epochs=3", *options, "--json")
    values = json.loads(ended.stdout)
    assert (values["cached"], values["recipe"]) == (True, recipe)
    assert lab.run(keep=[0, 1, 2], seed=1, recipe=recipe) == values


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_command_that_is_shown_is_answered_by_the_same_run(settings: Settings, store: Store, recipe: str) -> None:
    run = run_of(recipe)
    finish(store, run, 0.7)
    answered = called(settings, command_of(run))
    assert (answered["run"], answered["cached"]) == (run.key[:12], True)
    assert lab.run(keep=[0, 1, 2], seed=1, recipe=recipe)["run"] == run.key[:12]
    row = get_run(store, run.key)
    assert row is not None
    card = model_card(Subject(MODEL, TASK, run.recipe, answer(store, run.key, True), row, command_of(run), ""), [])
    assert "This command makes the model again:" in card
    assert command_of(run) in card
    assert ("class weights" in card) == run.recipe.class_weights


def test_a_sweep_that_is_shown_asks_for_the_same_recipe(settings: Settings, store: Store) -> None:
    recipe = RECIPES[2]
    shown = sweep_command(MODEL.id, TASK.id, recipe, ["top"], [3])
    called(settings, shown, "--no-wait", "--seeds", "1")
    expected = {run_of(recipe).key, spec_of(plan_kept(MODEL, range(6)), TASK, recipe, 1).key}
    assert {row["key"] for row in list_runs(store)} == expected
    assert f"--recipe {recipe} " in search_command(MODEL.id, TASK.id, recipe, {"within": 1}, {"runs": 2})


def test_a_recipe_with_a_hostile_name_is_quoted_in_a_command() -> None:
    run = spec((0, 1), 0, find_recipe("full", MODEL, TASK))
    named = RunSpec.from_dict(run.to_dict() | {"recipe": run.recipe.to_dict() | {"name": "full; rm -rf /"}})
    assert shlex.split(command_of(named))[-3] == "full; rm -rf /"


@pytest.mark.parametrize("recipe", RECIPES)
def test_an_exported_table_has_what_makes_the_run_again(
    settings: Settings, store: Store, tmp_path: Path, recipe: str
) -> None:
    run = run_of(recipe)
    finish(store, run, 0.7)
    (tmp_path / "runs.csv").write_text(pmb(settings, "runs", "--csv").stdout, encoding="utf-8")
    (stored,) = read_table(tmp_path / "runs.csv")
    assert (stored.spec, stored.spec.key) == (run, run.key)


def test_python_refuses_it_with_the_same_sentence(settings: Settings) -> None:
    with pytest.raises(BadInput, match="epochs '101' is not allowed; write a whole number from 1 to 100"):
        lab.run(drop=0, recipe="full,epochs=101")


@pytest.mark.slow
def test_a_real_run_with_a_recipe_of_ones_own_is_made_again(home_with_assets: Settings, tmp_path: Path) -> None:
    table = tmp_path / "films.csv"
    rows = [f"a film that is {word} number {number},{word}" for number in range(40) for word in ("good", "bad", "good")]
    table.write_text("\n".join(["text,label", *rows]))
    options = ["--epochs", "1", "--train-items", "64", "--batch-size", "16", "--max-length", "16", "--dropout", "0.2"]
    command = ["run", "--task", f"csv:{table}", "--keep", "0", *options, "--class-weights", "--json"]
    ended = pmb(home_with_assets, *command)
    assert ended.returncode == 0, ended.stderr
    values = json.loads(ended.stdout)
    assert values["recipe"] == "quick,epochs=1,batch-size=16,train-items=64,max-length=16,dropout=0.2,class-weights=yes"
    (tmp_path / "runs.csv").write_text(pmb(home_with_assets, "runs", "--csv").stdout, encoding="utf-8")
    again = pmb(home_with_assets, "reproduce", str(tmp_path / "runs.csv"), "--json")
    assert json.loads(again.stdout)["runs"][0]["verdict"] == "same"
