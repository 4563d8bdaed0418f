"""The dev examples of a task: labels in the order of predictions, read once; texts of single rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pmb.catalog.tasks import TASKS
from pmb.engine.data import load_task
from pmb.lab import dev
from pmb.lab.store import Store
from pmb.settings import Settings

TASK = TASKS["rotten-tomatoes"]


@pytest.mark.slow  # two child processes
def test_labels_are_read_once_and_texts_by_their_rows(
    home_with_assets: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = load_task(TASK, home_with_assets.assets).dev
    labels = dev.dev_labels(store, home_with_assets, TASK)
    assert labels == tuple(example.label for example in expected)
    assert dev.dev_texts(home_with_assets, TASK, [1999, 3]) == [expected[1999].texts, expected[3].texts]
    monkeypatch.setattr(dev, "ask", None)  # a second child would fail
    assert dev.dev_labels(store, home_with_assets, TASK) == labels


@pytest.mark.both_databases
def test_labels_are_remembered_as_they_were_read_by_task_and_revision(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    classes, numbers = TASK, replace(TASKS["stsb"], revision="of today", folder="here")
    read: dict[str, list[int | float]] = {classes.id: [0, 1, 1], numbers.id: [0.0, 4.75, 1 / 3]}
    asked: list[str] = []

    def ask(job: dict[str, Any], _: object) -> dict[str, Any]:
        asked.append(job["task"]["id"])
        return {"labels": read[job["task"]["id"]]}

    monkeypatch.setattr(dev, "ask", ask)
    assert dev.known_dev_labels(store, classes) is None
    for task in (classes, numbers, classes, numbers):
        labels = dev.dev_labels(store, settings, task)
        assert [(value, type(value)) for value in labels] == [(value, type(value)) for value in read[task.id]]
    dev.save_dev_labels(store, classes, [9])  # what is there stays
    assert dev.known_dev_labels(store, classes) == (0, 1, 1)
    assert dev.known_dev_labels(store, replace(classes, revision="of tomorrow")) is None
    assert asked == [classes.id, numbers.id]
