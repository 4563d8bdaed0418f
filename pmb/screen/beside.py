"""Configurations that stand beside each other on a page: which there are on a task, and what each is."""

from __future__ import annotations

from typing import Any

import streamlit as st

from pmb import settings
from pmb.catalog.models import MODELS
from pmb.catalog.tasks import Task
from pmb.errors import PmbError
from pmb.insight.undertrained import UNDERTRAINED
from pmb.lab.dev import dev_texts
from pmb.lab.results import measured_configurations
from pmb.lab.sources import find_model, find_task
from pmb.lab.store import Row, runs_by_key
from pmb.report import Words
from pmb.screen import ui, view
from pmb.screen.finished import undertrained_with
from pmb.spec import Recipe
from pmb.wording import counted


@ui.loaded(max_entries=16)
def load_configurations(task: Task, mark: tuple[Any, ...]) -> dict[str, dict[str, Any]]:
    """What can be compared on a task."""
    return measured_configurations(ui.the_store(), task)


@ui.loaded(max_entries=16)
def load_texts(task: Task, rows: tuple[int, ...]) -> list[tuple[str, ...]]:
    """The texts of dev sentences, read in a child process."""
    return dev_texts(settings.from_environment(), task, rows)


def defaults(configurations: dict[str, dict[str, Any]]) -> tuple[int, int]:
    """The whole model, and the same cut to its lower half, else the next."""
    names = list(configurations)
    for i, name in enumerate(names):
        one = configurations[name]
        if len(one["kept_layers"]) == one["num_hidden_layers"]:
            half = list(range(one["num_hidden_layers"] - one["num_hidden_layers"] // 2))
            for j, other in enumerate(names):
                same = configurations[other]["model"] == one["model"] and other.split()[1] == name.split()[1]
                if same and configurations[other]["kept_layers"] == half:
                    return i, j
    return 0, 1


@ui.loaded(max_entries=64)
def load_undertrained(key: str, mark: tuple[Any, ...]) -> str:
    """Why the whole model is undertrained with the recipe of this run; empty where it is not, or is not known."""
    runs = runs_by_key(ui.the_store(), [key])
    return run_undertrained(runs[0], mark) if runs else ""


def run_undertrained(run: Row, mark: tuple[Any, ...]) -> str:
    """Why the whole model is undertrained with the recipe of a run; empty where it is not, or is not known."""
    store, found = ui.the_store(), settings.from_environment()
    try:
        model, task = find_model(store, found, run["model"]), find_task(store, found, run["task"])
    except PmbError:  # such as a folder that has gone: its results are still here
        return ""
    if (model.revision, task.revision) != (run["model_revision"], run["task_revision"]):
        return ""
    return undertrained_with(model, task, Recipe(**run["recipe_values"]), mark)


def tell_side(side: str, configuration: dict[str, Any], mark: tuple[Any, ...]) -> None:
    """What stands on a side, in words, and that its task is undertrained."""
    said = ui.plain(described(configuration))
    st.caption(said, width="content")
    reason = load_undertrained(min(configuration["keys"].values()), mark)
    if reason:
        ui.undertrained_badge(reason)
    view.keep(Words(f"**{side}**: {said}{f'; {UNDERTRAINED}: {reason}' if reason else ''}"))


def described(configuration: dict[str, Any]) -> str:
    """What a configuration is, in words."""
    name = configuration["model"]
    title = MODELS[name].title if name in MODELS else name
    kept, total = configuration["kept_layers"], configuration["num_hidden_layers"]
    what = "whole" if len(kept) == total else f"{total - len(kept)} of {total} layers dropped, kept {ui.layers(kept)}"
    return f"{title}, {what}; {counted(len(configuration['keys']), 'seed')}"
