"""A recipe of one's own on the pages: changed under More, in the address, carried from page to page, and refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from streamlit.testing.v1 import AppTest

from pmb.catalog.models import MODELS
from pmb.catalog.recipes import RECIPES, find_recipe
from pmb.catalog.tasks import TASKS
from pmb.lab.plan import plan_kept, spec_of
from pmb.lab.store import Store, list_runs
from pmb.screen import controls
from tests.app import click, finish, opened, rerun, words

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("content_streamlit")]

PAGES = ("", "strategies", "tasks", "cost", "layers", "paper")
WITH_TASKS = ("strategies", "tasks", "paper")  # pages that show every task


def change(app: AppTest, setting: str, value: float) -> None:
    """Type a value into the input of a setting."""
    app.number_input(key=f"recipe_{setting}").set_value(value)
    rerun(app)


def recipe_of(app: AppTest) -> str:
    """The label in the box."""
    box = app.selectbox(key="recipe")
    return box.format_func(box.value)


def address_of(app: AppTest) -> str:
    """The recipe in the address."""
    said = app.query_params["recipe"]
    return said if isinstance(said, str) else said[0]


def test_changed_values_are_in_the_box_the_address_and_the_runs(scored: Store) -> None:
    app = opened(task="rotten-tomatoes")
    change(app, "epochs", 8)
    assert recipe_of(app) == "full, 8 epochs"
    assert address_of(app) == "full,epochs=8"
    change(app, "learning-rate", 0.00003)
    change(app, "train-items", 1000)
    assert address_of(app) == "full,epochs=8,learning-rate=3e-05,train-items=1000"
    said = words(app)
    assert "not been measured with recipe full, 8 epochs, rate 3e-05, 1,000 items yet" in said
    assert "1,000 of 4,738 train items, 8 epochs, learning rate 3e-05, batch 16, at most 128 tokens" in said
    click(app, "run")
    assert {row["recipe"] for row in list_runs(scored)} == {"full,epochs=8,learning-rate=3e-05,train-items=1000"}
    assert "full, 8 epochs, rate 3e-05, 1,000 items" in str(
        [one.proto.text for one in app.get("progress")] + [words(app)]
    )


def test_a_value_of_the_recipe_itself_is_no_change(scored: Store) -> None:
    app = opened(recipe="full,epochs=8,dropout=0.3")
    own = find_recipe("full", MODELS["minilm-l6"], TASKS["rotten-tomatoes"])
    change(app, "epochs", own.epochs)
    assert address_of(app) == "full,dropout=0.3"
    change(app, "dropout", own.dropout)
    assert "recipe" not in app.query_params
    assert recipe_of(app) == "full"


def test_there_is_a_way_back_to_the_recipes_own_values(scored: Store) -> None:
    app = opened(recipe="quick,epochs=8,batch-size=32")
    click(app, "recipe_back")
    assert (recipe_of(app), address_of(app)) == ("quick", "quick")
    assert app.number_input(key="recipe_epochs").value == 3
    assert app.button(key="recipe_back").disabled


def test_only_what_the_model_and_the_task_allow_can_be_set(scored: Store) -> None:
    app = opened(task="stsb")
    assert "recipe_class-weights" not in {box.key for box in app.checkbox}
    length, items = app.number_input(key="recipe_max-length"), app.number_input(key="recipe_train-items")
    assert (length.label, length.max) == ("Max length, 8 to 512", 512)
    assert (items.label, items.max) == ("Train items, 8 to 5,749", 5749)
    assert {box.key for box in opened(task="mrpc").checkbox} >= {"recipe_class-weights"}


@pytest.mark.parametrize("page", PAGES)
def test_a_link_with_a_recipe_of_ones_own_opens_every_page(scored: Store, page: str) -> None:
    app = opened(page, recipe="full,dropout=0.10,epochs=2")
    assert recipe_of(app) == "full, 2 epochs, dropout 0.1"
    assert address_of(app) == "full,epochs=2,dropout=0.1"
    assert not app.warning


def test_what_has_the_same_values_is_shown_whatever_it_is_called(scored: Store) -> None:
    for depth, score in ((6, 0.8), (3, 0.7)):
        plan = plan_kept(MODELS["minilm-l6"], range(depth))
        finish(scored, spec_of(plan, TASKS["rotten-tomatoes"], "full,epochs=2", 0), score)
    app = opened(recipe=f"full,epochs=2,dropout={RECIPES['full'].dropout:g}", k="3")
    assert app.metric[0].value == "70.0 %"
    assert app.session_state["report_view"].measured()


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(
    ("recipe", "why"),
    [
        ("fullest", "Unknown recipe 'fullest'. Did you mean 'full'?"),
        ("full,epochs=1000", "epochs '1000' is not allowed; write a whole number from 1 to 100."),
        ("full,max-length=513", "MiniLM-L6 reads at most 512 tokens."),
    ],
)
def test_a_wrong_recipe_in_the_address_is_a_sentence(scored: Store, page: str, recipe: str, why: str) -> None:
    app = opened(page, recipe=recipe)
    (warning,) = app.warning
    assert why in warning.value
    assert "Recipe full is shown instead." in warning.value
    assert recipe_of(app) == "full"
    assert "recipe" not in app.query_params


def test_the_sentence_goes_when_another_recipe_is_chosen(scored: Store) -> None:
    app = opened(recipe="fullest")
    app.selectbox(key="recipe").set_value("quick")
    rerun(app)
    assert not app.warning
    assert address_of(app) == "quick"


def test_a_task_of_numbers_takes_class_weights_out_of_the_recipe(scored: Store) -> None:
    app = opened(recipe="full,epochs=8,class-weights=yes")
    assert not app.warning
    app.selectbox(key="task").set_value("stsb")
    rerun(app)
    assert recipe_of(app) == "full, 8 epochs"
    assert address_of(app) == "full,epochs=8"
    assert "its labels are numbers, not classes. Recipe full, 8 epochs is shown instead." in app.warning[0].value


@pytest.mark.parametrize("page", WITH_TASKS)
def test_pages_of_every_task_name_those_that_the_recipe_leaves_out(scored: Store, page: str) -> None:
    app = opened(page, recipe="full,class-weights=yes")
    assert "class-weights cannot be used on STS-B: its labels are numbers, not classes." in words(app).replace("\\", "")
    if page != "paper":
        assert "stsb" not in app.multiselect(key="tasks").options


def test_it_goes_along_from_page_to_page_and_back(scored: Store) -> None:
    app = opened(recipe="quick")
    change(app, "epochs", 5)
    for page in (*PAGES[1:], "runs", "explore"):
        app.switch_page(f"pages/{page}_page.py").run()
        assert not app.exception
        if page != "runs":
            assert recipe_of(app) == "quick, 5 epochs"
            assert address_of(app) == "quick,epochs=5"


def test_values_that_a_rule_puts_outside_the_range_can_be_shown(scored: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow, few = replace(MODELS["minilm-l6"], hidden_size=2), replace(TASKS["rotten-tomatoes"], train_examples=5)
    monkeypatch.setattr(controls, "find_model", lambda *_: narrow)
    monkeypatch.setattr(controls, "find_task", lambda *_: few)
    app = opened()
    assert app.number_input(key="recipe_learning-rate").value == pytest.approx(0.0192)
    assert app.number_input(key="recipe_train-items").value == 5
