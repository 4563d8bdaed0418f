"""The controls that pages share: the same key, words and place in the address on every page.

The options are the names of the command line and of the address: `format_func` would put its own words into the link.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal
from urllib.parse import urlencode

import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit.runtime.scriptrunner import get_script_run_ctx

from pmb import settings
from pmb.catalog.models import MODELS, BaseModel
from pmb.catalog.recipes import (
    DEFAULT_RECIPE,
    RECIPES,
    Setting,
    check_recipe,
    find_recipe,
    fitting_recipe,
    recipe_changes,
    recipe_fault,
    recipe_label,
    recipe_text,
    settings_of,
)
from pmb.catalog.tasks import TASKS, Task
from pmb.errors import BadInput
from pmb.lab.sources import find_model, find_task, known_models, known_tasks
from pmb.screen import ui
from pmb.screen.selection import PARAMETER
from pmb.spec import PROCEDURES
from pmb.strategies import CHOICES, CUSTOM, STRATEGIES

PIXELS = 154  # two fit beside each other on a phone
ROW_GAP = 14  # pixels
SETTING_PIXELS = 140  # of a recipe's input
STEPS = {"learning-rate": 1e-5, "dropout": 0.05}  # of the inputs' plus and minus
MOST_BUTTONS = 7  # so many drop counts fit beside each other on a phone
DROP_HELP = (
    "How many layers go; 0 is the whole model. The alternates reach half the layers; symmetric keeps equal ends, so "
    "that not every count is possible."
)

MODEL_HELP = "Of the catalog; or type a Hub id (owner/model) or the path of a folder with a model."
TASK_HELP = "GLUE's tasks come from PMB_GLUE_DIR, else from the Hub; a table of your own is csv:PATH."
KEPT_HELP = "Layers are counted from 0, the lowest. Press one to drop it or to have it back; at least one must stay."


SHARED = ("model", "task", "strategy", "k", "kept", "recipe", "procedure")  # from page to page
OPTIONS = {"strategy": CHOICES, "procedure": tuple(PROCEDURES)}
BY_DEFAULT = {
    "model": next(iter(MODELS)),
    "task": next(iter(TASKS)),
    "strategy": STRATEGIES[0],
    "recipe": DEFAULT_RECIPE,
    "procedure": PROCEDURES[0],
}
# Of the shared choices those that the address of a page names, by its path. Of these `choose_kept` and
# `choose_recipe` write theirs.
ON_PAGE = {
    "": ("model", "task", "strategy", "k", "recipe", "procedure"),
    "strategies": ("model", "k", "recipe"),
    "tasks": ("model", "strategy", "k", "recipe"),
    "cost": ("model", "task", "k", "recipe"),
    "layers": ("model", "task", "recipe"),
    "paper": ("model", "task", "recipe"),
    "compare": ("task",),
    "try": ("task",),
    "runs": (),
}


def carry_over(page: str) -> None:
    """Take what was chosen on one page to the next, before that one draws; what its address says wins.

    Streamlit gives each page widgets of its own, with their defaults. `remember` is to be called after the page.
    On the way between two pages it leaves entries without choices in the browser's history: who comes back to one is
    shown what he left on that page, or had brought there.
    """
    state, back = st.session_state, _came_back()
    before, addresses = state.setdefault("page", page), state.setdefault("addresses", {})
    without_choices = state.setdefault("without_choices", {})  # what such an entry stands for, by page
    if before != page:
        without_choices[before], state.page = addresses.get(before, {}), page
        state.pop("recipe_problem", None)
    if back and not st.query_params and (address := without_choices.get(page)):
        _write(address, seed=True)
    if back or before == page:
        return
    chosen = state.get("chosen", {})
    for key in SHARED:
        value = _of_address(key) if key in st.query_params else chosen.get(key)
        if value is not None:
            state[key] = value
    if not st.query_params:
        without_choices[page] = _address_of(chosen, page)
        selected = {key: value for key, value in addresses.get(page, {}).items() if key == PARAMETER}
        _write(without_choices[page] | selected)


def _address_of(chosen: dict[str, Any], page: str) -> dict[str, list[str]]:
    """What a page's address says of these choices."""
    said = {key: chosen[key] for key in ON_PAGE[page] if key in chosen and chosen[key] != BY_DEFAULT.get(key)}
    if page and said.get("strategy") not in STRATEGIES:  # Explore has more
        said.pop("strategy", None)
    if said.get("strategy") == CUSTOM:
        said.pop("k", None)
    return {key: [str(value)] for key, value in said.items()}


def _came_back() -> bool:
    """Whether it was the browser's Back or Forward that asked for the page; Streamlit keeps that to itself."""
    context = get_script_run_ctx()
    return context is not None and context.is_history_navigation


def _write(address: dict[str, list[str]], seed: bool = False) -> None:
    """Write an address into the bar at once, also what is bound to controls, which st.query_params refuses.

    `seed`: controls take their values from it, as if the browser had come back to it.
    """
    context, query = get_script_run_ctx(), urlencode(address, doseq=True)
    if context is None or not address:
        return
    with context.session_state.query_params() as parameters:
        if seed:
            parameters.set_initial_query_params(query)
        parameters.populate_from_query_string(query)
        key, values = list(address.items())[-1]
        parameters.set_corrected_value(key, values, "string_array_value")  # this tells the browser of all


def _of_address(key: str) -> str | int | list[int] | None:
    """What the address says, where it can be; Streamlit reads it by itself for a session's first page alone."""
    if key == "kept":
        return _kept_of_address() or None
    said = st.query_params[key]
    if key == "k":
        return int(said) if said.isdecimal() and len(said) < 4 else None
    if key == "recipe":
        return _usual_recipe(said)
    return said if said in OPTIONS.get(key, (said,)) else None


def _usual_recipe(text: str) -> str | None:
    """The recipe's text in its usual form; None where it is not a recipe."""
    try:
        return check_recipe(text)
    except BadInput:
        return None


def _kept_of_address() -> list[int]:
    return [int(one) for one in st.query_params.get_all("kept") if one.isdecimal() and len(one) < 4]


def remember() -> None:
    """Keep what is chosen now, and the page's address, for `carry_over`."""
    state = st.session_state
    state.chosen = state.get("chosen", {}) | {key: state[key] for key in SHARED if key in state}
    state.addresses[state.page] = {key: st.query_params.get_all(key) for key in st.query_params}


def choose_model() -> BaseModel:
    """A model of the catalog, one looked into before, or what is typed; raises BadInput."""
    store = ui.the_store()
    name = _named("Model", "model", known_models(store), MODEL_HELP)
    return find_model(store, settings.from_environment(), name)


def choose_task() -> Task:
    """A task of the catalog, a table used before, or what is typed; raises BadInput."""
    store = ui.the_store()
    if brought := st.session_state.pop("brought_task", ""):  # by the dialog, which is drawn after this box
        st.session_state["task"] = brought
    name = _named("Task", "task", known_tasks(store), TASK_HELP)
    return find_task(store, settings.from_environment(), name)


def _named(label: str, key: str, options: Sequence[str], explained: str) -> str:
    """A box of names, to which whoever may run things can add; empty where nothing is chosen."""
    name = st.selectbox(
        label,
        options,
        key=key,
        bind="query-params",
        width=PIXELS,
        accept_new_options=ui.may_write(),
        help=explained,
    )
    return name or ""


def bring_cut(kept_layers: Sequence[int]) -> None:
    """Choose these layers when the page is drawn next."""
    st.session_state["brought_cut"] = list(kept_layers)


def choose_strategy(options: Sequence[str] = STRATEGIES) -> str:
    """One of the strategies; one that another page has and this one has not becomes the first."""
    if brought := st.session_state.pop("brought_cut", None):
        st.session_state.update(strategy=CUSTOM, kept=brought)
    if st.session_state.get("strategy", options[0]) not in options:
        st.session_state["strategy"] = options[0]
    return st.selectbox(
        "Strategy",
        list(options),
        key="strategy",
        bind="query-params",
        width=PIXELS,
        help="The rule that says which layers go; layers are counted from the bottom.",
    )


def choose_drop(allowed: Sequence[int], first: int) -> int:
    """The drop count: a row of buttons where they fit a phone, else a list; the last one where `first` is none.

    What was chosen with another strategy or model, or on another page, becomes the nearest that is possible here.
    """
    state, first = st.session_state, first if first in allowed else allowed[-1]
    before = state.get("k")
    if isinstance(before, int) and before not in allowed:
        state["k"] = min(allowed, key=lambda count: abs(count - before))
    how: dict[str, Any] = {"key": "k", "bind": "query-params"}
    if len(allowed) > MOST_BUTTONS:
        return st.selectbox("Drop count", allowed, index=allowed.index(first), width=PIXELS, help=DROP_HELP, **how)
    # Buttons are lower than boxes: a label of its own stands level with theirs, and the buttons in the middle.
    with st.container(width="content", gap=8):
        st.markdown(":small[Drop count]", help=DROP_HELP)
        with st.container(width="content", gap=3):
            chosen = st.segmented_control(
                "Drop count", allowed, default=first, required=True, label_visibility="collapsed", **how
            )
            st.space(1)
    return chosen


def choose_kept(num_hidden_layers: int, first: Sequence[int]) -> list[int]:
    """The layers that stay, a button each, ascending; to begin with those of the address, else `first`.

    Layers that this model has not are left out. How many go is the drop count of other strategies and pages. The
    address is written here and not by Streamlit, which leaves out of it what no press has chosen: a link would then
    show another cut. It wins where it is not what this session last wrote there.
    """
    state, layers, said = st.session_state, range(num_hidden_layers), st.query_params.get_all("kept")
    if "kept" not in state or (said and said != state.get("kept_written")):
        state["kept"] = _kept_of_address() or list(first)
    if state["kept"]:
        inside = [layer for layer in layers if layer in state["kept"]]
        state["kept"] = inside or [layer for layer in layers if layer in first]
    with st.container(width="content", gap=8):
        st.markdown(":small[Layers that stay]", help=KEPT_HELP)
        with st.container(width="content", gap=3):
            chosen = sorted(
                st.pills(
                    "Layers that stay",
                    layers,
                    selection_mode="multi",
                    key="kept",
                    label_visibility="collapsed",
                    wrap=True,
                )
            )
            st.space(1)
    state["kept_written"] = [str(layer) for layer in chosen]
    if said != state["kept_written"]:
        st.query_params["kept"] = state["kept_written"]
    if chosen:
        state["k"] = num_hidden_layers - len(chosen)
    return chosen


def row() -> DeltaGenerator:
    """The row of a page's controls; Explore's stand in one line beside the sidebar at 1440 pixels."""
    return st.container(horizontal=True, vertical_alignment="bottom", gap=ROW_GAP)


def choose_recipe(model: BaseModel, task: Task | None = None, width: int | Literal["stretch"] = PIXELS) -> str:
    """One of the recipes, or a changed one that the address or Explore's settings name; its text.

    What is not a recipe becomes the default; a change that this model or task does not allow is left out. `tell_recipe`
    says so. The address is written here and not by Streamlit, which would write the label into it.
    """
    state, said = st.session_state, st.query_params.get("recipe", "")
    linked = said != state.get("recipe_written") if said else _came_back()
    if linked or "recipe" not in state:
        state["recipe"] = said or DEFAULT_RECIPE
    asked = state["recipe"]
    try:
        state["recipe"], why = fitting_recipe(asked, model, [task or TASKS[BY_DEFAULT["task"]]])
    except BadInput as error:
        state["recipe"], why = DEFAULT_RECIPE, str(error)
    if why:
        state["recipe_problem"] = state["recipe"], f"{why} Recipe {recipe_label(state['recipe'])} is shown instead."
    chosen = st.selectbox(
        "Recipe",
        list(dict.fromkeys([*RECIPES, state["recipe"]])),
        format_func=recipe_label,
        key="recipe",
        width=width,
        help="How each cut is fine-tuned. All depths have the same recipe. Change its values under More on Explore.",
    )
    state["recipe_written"] = "" if chosen == DEFAULT_RECIPE else chosen
    if said and not state["recipe_written"]:
        del st.query_params["recipe"]
    elif said != state["recipe_written"]:
        st.query_params["recipe"] = chosen
    return chosen


def tell_recipe() -> None:
    """Say why another recipe is shown than the one that was asked for, until a person chooses one or leaves."""
    shown, why = st.session_state.get("recipe_problem", ("", ""))
    if why and shown == st.session_state.get("recipe"):
        st.warning(ui.plain(why), icon=":material/warning:")


def tasks_with(model: BaseModel, recipe: str) -> dict[str, Task]:
    """Every known task that the recipe can be used on, by name; says which are left out."""
    store, found = ui.the_store(), settings.from_environment()
    every = {name: find_task(store, found, name) for name in known_tasks(store)}
    faults = {name: why for name, task in every.items() if (why := recipe_fault(recipe, model, task))}
    for why in faults.values():
        st.caption(ui.plain(why))
    return {name: task for name, task in every.items() if name not in faults}


def change_recipe(text: str, model: BaseModel, task: Task) -> None:
    """Inputs for the settings of a recipe, and a way back; a changed value makes a recipe of one's own."""
    name, changes = recipe_changes(text)
    preset, recipe = find_recipe(name, model, task), find_recipe(text, model, task)
    with st.grid(2, min_column_width=SETTING_PIXELS, gap="small"):
        for setting in settings_of(model, task):
            _setting_input(setting, getattr(recipe, setting.field), getattr(preset, setting.field), name, changes)
    st.button(
        f"Back to the values of {name}",
        key="recipe_back",
        type="tertiary",
        icon=":material/undo:",
        disabled=not changes,
        on_click=partial(st.session_state.__setitem__, "recipe", name),
    )


def _setting_input(
    setting: Setting, value: float | bool, usual: float | bool, name: str, changes: dict[str, float | bool]
) -> None:
    """A setting's input with its value, which the recipe's text decides; `usual`: its value without a change."""
    label, key = setting.name.replace("-", " ").capitalize(), f"recipe_{setting.name}"
    about = f"{setting.about} In {name}: {_written(usual)}."
    change = partial(_change_recipe, setting, key, name, changes, usual)
    if setting.kind is bool:
        st.session_state[key] = value
        st.checkbox(label, key=key, help=about, on_change=change)
        return
    # What a rule of the recipe gives for an unusual model may lie outside the range of what a person may write.
    least, most = setting.kind(min(setting.least, value)), setting.kind(max(setting.most, value))
    st.session_state[key] = setting.kind(value)
    st.number_input(
        f"{label}, {_written(least)} to {_written(most)}",
        least,
        most,
        step=STEPS.get(setting.name, 1),
        format="%g" if setting.kind is float else None,
        key=key,
        help=about,
        on_change=change,
    )


def _written(value: float | bool) -> str:
    """A setting's value, for people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _change_recipe(
    setting: Setting, key: str, name: str, changes: dict[str, float | bool], usual: float | bool
) -> None:
    value = st.session_state[key]
    others = {other: kept for other, kept in changes.items() if other != setting.name}
    st.session_state["recipe"] = recipe_text(name, others if value == usual else others | {setting.name: value})


def choose_procedure() -> str:
    """One of the procedures."""
    return st.selectbox(
        "Procedure",
        list(PROCEDURES),
        key="procedure",
        bind="query-params",
        help="Cut and fine-tune; or fine-tune the whole model, cut it and fine-tune again.",
    )
