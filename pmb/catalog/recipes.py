"""The named recipes, the rules that fit them to a model and a task, and changes of one's own.

A recipe is named by a text such as "full", or "full,epochs=8,dropout=0" where some of its values are changed. The same
text is used by the command line, in the address of a page and in the store. How the values were chosen:
docs/recipes.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pmb.catalog.models import BaseModel
from pmb.catalog.tasks import Task
from pmb.errors import BadInput, unknown_name
from pmb.spec import Recipe

RATE_WIDTH = 384  # the learning rates below are those of a model this wide
UNKNOWN_WIDTH = 768  # assumed for a model whose width is not known
FULL_TRAIN_ITEMS = 10_000  # at most
FULL_EPOCHS = {"mrpc": 10, "rte": 10, "cola": 10}  # small or hard tasks, which learn slowly
FEW_TRAIN_ITEMS = 4_000  # a task with fewer learns from each of them more often
FULL_EPOCHS_OF_FEW, FULL_EPOCHS_OF_MANY = 10, 4

_USUAL = Recipe(
    name="",
    train_sentences=2000,
    epochs=2,
    learning_rate=1e-4,
    batch_size=8,
    warmup_fraction=0.1,
    weight_decay=0.0,
    max_grad_norm=1.0,
    max_length=128,
    dropout=0.0,
    train_sample="seed",
)
RECIPES = {
    row.name: row
    for row in (
        replace(_USUAL, name="full", train_sentences=FULL_TRAIN_ITEMS, epochs=FULL_EPOCHS_OF_MANY, batch_size=16),
        replace(_USUAL, name="quick", train_sentences=512, epochs=3, learning_rate=2e-4),
        replace(_USUAL, name="standard"),
        replace(_USUAL, name="stable", train_sentences=2500, epochs=10),
        # Of shipped GLUE results that have not been measured with `full` yet; goes when they have been.
        replace(_USUAL, name="first-2000", train_sample="first"),
    )
}
DEFAULT_RECIPE = "full"


@dataclass(frozen=True, slots=True)
class Setting:
    """A value of a recipe that a user may change, from `least` to `most`."""

    name: str  # in a recipe's text, in an address and, with hyphens, on the command line
    field: str  # of Recipe
    kind: type[int] | type[float] | type[bool]
    least: float
    most: float
    about: str
    short: str  # how a label gives the value, such as "{} epochs"

    @property
    def range(self) -> str:
        """The allowed values, such as "1..100"."""
        return f"{_written(self.kind(self.least))}..{_written(self.kind(self.most))}"


SETTINGS = {
    row.name: row
    for row in (
        Setting("epochs", "epochs", int, 1, 100, "Passes over the train items.", "{} epochs"),
        Setting("learning-rate", "learning_rate", float, 1e-7, 1e-2, "The highest rate, after the warm-up.", "rate {}"),
        Setting("batch-size", "batch_size", int, 1, 256, "Train items in each step.", "batch {}"),
        Setting("train-items", "train_sentences", int, 8, 10**6, "At most; each seed takes its own.", "{} items"),
        Setting("max-length", "max_length", int, 8, 8192, "Tokens; what is longer is cut off.", "{} tokens"),
        Setting("dropout", "dropout", float, 0, 0.9, "Of hidden states and attention, in training.", "dropout {}"),
        Setting("class-weights", "class_weights", bool, 0, 1, "All classes count the same.", "class weights"),
    )
}
MOST_SHOWN = 40  # characters of a wrong value, in its sentence
YES, NO = ("yes", "true", "1"), ("no", "false", "0")


def check_recipe(text: str) -> str:
    """The recipe's text in its usual form; raises BadInput for an unknown name or a value outside its range.

    A text that changes nothing but the order or spelling of values has the same usual form.
    """
    name, changes = recipe_changes(text)
    return recipe_text(name, changes)


def recipe_text(name: str, changes: dict[str, float | bool]) -> str:
    """The usual form of a recipe's text: its name, then what is changed, in the order of SETTINGS."""
    return ",".join([name, *(f"{key}={_written(changes[key])}" for key in SETTINGS if key in changes)])


def with_change(text: str, setting: str, value: float | bool) -> str:
    """The recipe's text with one more setting changed; raises BadInput."""
    name, changes = recipe_changes(text)
    return recipe_text(name, changes | {setting: value})


def recipe_label(text: str) -> str:
    """The recipe for people, such as "full, 8 epochs"; the text itself where it is not a recipe."""
    try:
        name, changes = recipe_changes(text)
    except BadInput:
        return text
    return ", ".join([name, *(_short(SETTINGS[key], changes[key]) for key in SETTINGS if key in changes)])


def recipe_words(recipe: Recipe, task: Task) -> str:
    """What the recipe does on this task, in a line."""
    items, every = recipe.train_sentences, task.train_examples
    some = "all train items" if items is None else f"{items:,} of {every:,} train items"
    if items is not None and every is None:
        some = f"at most {items:,} train items"
    elif items == every and items is not None:
        some = f"all {items:,} train items"
    parts = [
        some,
        f"{recipe.epochs} epoch{'s' * (recipe.epochs != 1)}",
        f"learning rate {recipe.learning_rate:g}",
        f"batch {recipe.batch_size}",
        f"at most {recipe.max_length:,} tokens",
        f"dropout {recipe.dropout:g}",
    ]
    return ", ".join(parts + ["class weights"] * recipe.class_weights)


def fitting_recipe(text: str, model: BaseModel, tasks: Sequence[Task]) -> tuple[str, str]:
    """The recipe's text without changes that this model or one of the tasks does not allow, and the sentence why.

    The sentence is empty where all is allowed. Raises BadInput where the text is not a recipe.
    """
    name, changes = recipe_changes(text)
    allowed, reasons = {}, []
    for key, value in changes.items():
        why = next((why for task in tasks if (why := recipe_fault(recipe_text(name, {key: value}), model, task))), "")
        if why:
            reasons.append(why)
        else:
            allowed[key] = value
    return recipe_text(name, allowed), " ".join(reasons)


def recipe_fault(text: str, model: BaseModel, task: Task) -> str:
    """Why this recipe cannot be used with the model on the task; empty where it can."""
    try:
        find_recipe(text, model, task)
    except BadInput as error:
        return str(error)
    return ""


def find_recipe(text: str, model: BaseModel, task: Task) -> Recipe:
    """The recipe with the values that it has for this model and task; raises BadInput.

    The learning rate is inversely proportional to the width of the model. `full` takes as many epochs as the task
    needs. No recipe takes more train items than the task has.
    """
    name, changes = recipe_changes(text)
    recipe = RECIPES[name]
    width = model.hidden_size or UNKNOWN_WIDTH
    values: dict[str, float | bool] = {"learning_rate": _rounded(recipe.learning_rate * RATE_WIDTH / width)}
    if name == "full":
        values["epochs"] = full_epochs(task)
    values |= {SETTINGS[key].field: value for key, value in changes.items()}
    if changes.get("class-weights") and not task.labels:
        raise BadInput(f"class-weights cannot be used on {task.title}: its labels are numbers, not classes.")
    recipe = replace(recipe, name=recipe_text(name, changes), **values)  # type: ignore[arg-type] # by their fields
    if model.max_length and recipe.max_length > model.max_length:
        if "max-length" in changes:
            raise BadInput(
                f"max-length {recipe.max_length} is not allowed: {model.title} reads at most {model.max_length} tokens."
            )
        recipe = replace(recipe, max_length=model.max_length)
    if task.train_examples and (recipe.train_sentences or 0) > task.train_examples:
        recipe = replace(recipe, train_sentences=task.train_examples)
    return recipe


def is_recipe(text: str) -> bool:
    """Whether the text names a recipe and values that it can have."""
    try:
        check_recipe(text)
    except BadInput:
        return False
    return True


def is_current(recipe: Recipe, model: BaseModel, task: Task) -> bool:
    """Whether the name of this recipe still stands for its values on this model and task."""
    try:
        return find_recipe(recipe.name, model, task).values == recipe.values
    except BadInput:
        return False


def settings_of(model: BaseModel, task: Task) -> list[Setting]:
    """The settings that can be changed for this model and task, with their ranges."""
    rows = []
    for row in SETTINGS.values():
        if row.name == "class-weights" and not task.labels:
            continue
        if row.name == "max-length" and model.max_length:
            row = replace(row, most=min(row.most, model.max_length))
        if row.name == "train-items" and task.train_examples:
            row = replace(row, most=min(row.most, task.train_examples))
        rows.append(row)
    return rows


def full_epochs(task: Task) -> int:
    """The epochs of `full` on this task."""
    if task.id in FULL_EPOCHS:
        return FULL_EPOCHS[task.id]
    few = task.train_examples is not None and task.train_examples < FEW_TRAIN_ITEMS
    return FULL_EPOCHS_OF_FEW if few else FULL_EPOCHS_OF_MANY


def recipe_changes(text: str) -> tuple[str, dict[str, float | bool]]:
    """The name of the recipe and the settings that its text changes; raises BadInput."""
    name, *parts = text.split(",")
    if name not in RECIPES:
        raise unknown_name("recipe", name, tuple(RECIPES))
    changes: dict[str, float | bool] = {}
    for part in parts:
        key, _, value = part.partition("=")
        if key not in SETTINGS:
            raise unknown_name("setting of a recipe", key, tuple(SETTINGS))
        changes[key] = read_setting(SETTINGS[key], value)
    return name, changes


def read_setting(setting: Setting, value: str) -> float | bool:
    """The value that a text gives a setting; raises BadInput with the range that is allowed."""
    if setting.kind is bool:
        if value.lower() not in YES + NO:
            raise BadInput(f"{setting.name} {value[:MOST_SHOWN]!r} is not allowed; write yes or no.")
        return value.lower() in YES
    try:
        number = setting.kind(value)
    except ValueError:
        number = math.nan
    if not setting.least <= number <= setting.most:
        kind = "a whole number" if setting.kind is int else "a number"
        least, most = _written(setting.kind(setting.least)), _written(setting.kind(setting.most))
        raise BadInput(f"{setting.name} {value[:MOST_SHOWN]!r} is not allowed; write {kind} from {least} to {most}.")
    return setting.kind(_written(number))  # as many digits as the recipe's text has: the text alone makes the run again


def _written(value: float | bool) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) if isinstance(value, int) else f"{value:.10g}"


def _short(setting: Setting, value: float | bool) -> str:
    """The value in a label."""
    if setting.kind is bool:
        return setting.short if value else f"no {setting.short}"
    number = f"{value:,}" if setting.kind is int else f"{value:g}"
    return setting.short.format(number).removesuffix("s" if value == 1 and setting.name == "epochs" else "")


def _rounded(rate: float) -> float:
    """Three digits: so the rate, and with it a run's key, does not depend on how a product is computed."""
    return float(f"{rate:.3g}")
