"""Configurations that stand beside each other on a page: which there are on a task, and what each is."""

from __future__ import annotations

from typing import Any

from pmb import settings
from pmb.catalog.models import MODELS
from pmb.catalog.tasks import Task
from pmb.lab.dev import dev_texts
from pmb.lab.results import measured_configurations
from pmb.screen import ui
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


def described(configuration: dict[str, Any]) -> str:
    """What a configuration is, in words."""
    name = configuration["model"]
    title = MODELS[name].title if name in MODELS else name
    kept, total = configuration["kept_layers"], configuration["num_hidden_layers"]
    what = "whole" if len(kept) == total else f"{total - len(kept)} of {total} layers dropped, kept {ui.layers(kept)}"
    return f"{title}, {what}; {counted(len(configuration['keys']), 'seed')}"
