"""The named recipes, their rules for a model and a task, and changes of one's own."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from pmb.catalog.models import MODELS
from pmb.catalog.recipes import RECIPES, SETTINGS, check_recipe, find_recipe, is_current, settings_of, with_change
from pmb.catalog.tasks import TASKS
from pmb.engine.finetune import class_weights
from pmb.engine.run import train_sample
from pmb.errors import BadInput
from pmb.spec import Recipe

SMALL, LARGE = MODELS["minilm-l6"], MODELS["bert-base-cased"]
TASK = TASKS["rotten-tomatoes"]


def test_the_learning_rate_falls_with_the_width_of_the_model() -> None:
    for name in RECIPES:
        assert find_recipe(name, SMALL, TASK).learning_rate == 2 * find_recipe(name, LARGE, TASK).learning_rate
    unknown = replace(LARGE, hidden_size=0)
    assert find_recipe("full", unknown, TASK) == find_recipe("full", LARGE, TASK)


def test_full_takes_all_train_items_but_at_most_ten_thousand() -> None:
    assert find_recipe("full", SMALL, TASK).train_sentences == TASK.train_examples
    assert find_recipe("full", SMALL, TASKS["sst2"]).train_sentences == 10_000
    assert find_recipe("standard", SMALL, TASKS["wnli"]).train_sentences == TASKS["wnli"].train_examples == 635


def test_full_trains_longer_on_small_tasks() -> None:
    epochs = {task: find_recipe("full", SMALL, TASKS[task]).epochs for task in ("rte", "mrpc", "cola", "sst2", "stsb")}
    assert min(epochs["rte"], epochs["mrpc"], epochs["cola"]) > max(epochs["sst2"], epochs["stsb"])
    table = replace(TASK, id="csv:reviews.csv", train_examples=300)
    assert find_recipe("full", SMALL, table).epochs > find_recipe("full", SMALL, TASK).epochs


def test_a_recipe_takes_changes_in_its_text() -> None:
    recipe = find_recipe("full,dropout=0.1,epochs=8", SMALL, TASK)
    assert (recipe.epochs, recipe.dropout, recipe.name) == (8, 0.1, "full,epochs=8,dropout=0.1")
    assert replace(recipe, epochs=4, dropout=0.0, name="full") == find_recipe("full", SMALL, TASK)
    assert check_recipe("full,dropout=0.10,epochs=8") == check_recipe("full,epochs=8,dropout=1e-1") == recipe.name
    assert with_change("full,epochs=8", "epochs", 3) == "full,epochs=3"


def test_equal_values_are_one_recipe_whatever_its_name_is() -> None:
    same = find_recipe("full,epochs=4", SMALL, TASK)
    assert same.values == find_recipe("full", SMALL, TASK).values
    assert same.is_stored_as(find_recipe("full", SMALL, TASK).to_dict())


@pytest.mark.parametrize("setting", SETTINGS)
def test_each_setting_changes_the_values_of_the_recipe(setting: str) -> None:
    value = {"class-weights": "yes", "learning-rate": "0.00123", "dropout": "0.33"}.get(setting, "77")
    changed = find_recipe(f"full,{setting}={value}", SMALL, TASK)
    different = {
        name for name, value in changed.values.items() if find_recipe("full", SMALL, TASK).values.get(name) != value
    }
    assert different == {SETTINGS[setting].field}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fool", "Unknown recipe 'fool'. Did you mean 'full'?"),
        ("full,epoch=3", "Unknown setting of a recipe 'epoch'. Did you mean 'epochs'?"),
        ("full,epochs=0", "epochs '0' is not allowed; write a whole number from 1 to 100."),
        ("full,epochs=2.5", "write a whole number from 1 to 100"),
        ("full,epochs", "epochs '' is not allowed"),
        ("full,learning-rate=1", "write a number from 1e-07 to 0.01"),
        ("full,learning-rate=nan", "learning-rate 'nan' is not allowed"),
        ("full,dropout=-0.1", "write a number from 0 to 0.9"),
        ("full,batch-size=1e3", "write a whole number from 1 to 256"),
        ("full,class-weights=maybe", "class-weights 'maybe' is not allowed; write yes or no."),
        ("full,max-length=600", "max-length 600 is not allowed: MiniLM-L6 reads at most 512 tokens."),
    ],
)
def test_a_wrong_recipe_says_what_is_allowed(text: str, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        find_recipe(text, SMALL, TASK)
    assert words in str(caught.value)


def test_class_weights_are_for_classes_alone() -> None:
    with pytest.raises(BadInput, match="class-weights cannot be used on STS-B: its labels are numbers"):
        find_recipe("full,class-weights=yes", SMALL, TASKS["stsb"])
    assert "class-weights" not in {setting.name for setting in settings_of(SMALL, TASKS["stsb"])}
    assert "class-weights" in {setting.name for setting in settings_of(SMALL, TASK)}


def test_a_recipe_that_changed_is_not_current() -> None:
    recipe = find_recipe("standard", SMALL, TASK)
    assert is_current(recipe, SMALL, TASK)
    assert not is_current(replace(recipe, epochs=99), SMALL, TASK)
    assert not is_current(replace(recipe, name="gone"), SMALL, TASK)


def test_recipes_from_before_there_were_samples_have_the_values_of_then() -> None:
    old = Recipe("standard", 2000, 2, 1e-4, 8, 0.1, 0.0, 1.0, 128, 0.0)
    assert "train_sample" not in old.values
    assert "class_weights" not in old.values
    assert not find_recipe("standard", SMALL, TASK).is_stored_as(old.to_dict())


def test_each_seed_draws_its_own_train_items() -> None:
    recipe = find_recipe("quick", SMALL, TASK)
    samples = [train_sample(recipe, 4738, seed) for seed in range(3)]
    for sample in samples:
        assert len(set(sample)) == len(sample) == 512
        assert max(sample) < 4738
    assert len({tuple(sample) for sample in samples}) == 3
    assert train_sample(recipe, 4738, 1) == samples[1]
    assert list(train_sample(recipe, 300, 1)) == list(range(300))
    assert list(train_sample(replace(recipe, train_sample="first"), 4738, 1)) == list(range(512))


def test_class_weights_make_every_class_count_the_same() -> None:
    rng = random.Random(0)
    labels = [0] * 90 + [1] * 10
    rng.shuffle(labels)
    weights = class_weights(labels, 3)
    assert weights.tolist() == pytest.approx([100 / 180, 100 / 20, 0])
    assert sum(weights[label].item() for label in labels if label == 0) == pytest.approx(50)
    logits, targets = torch.randn(100, 3), torch.tensor(labels)
    per_class = [functional.cross_entropy(logits[targets == c], targets[targets == c]) for c in (0, 1)]
    assert functional.cross_entropy(logits, targets, weights) == pytest.approx(sum(per_class) / 2)
    assert class_weights([0, 1, 0, 1], 2).tolist() == [1, 1]
