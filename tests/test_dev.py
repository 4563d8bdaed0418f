"""The dev examples of a task: labels in the order of predictions, read once; texts of single rows."""

from __future__ import annotations

import pytest

from pmb.catalog.tasks import TASKS
from pmb.engine.data import load_task
from pmb.lab import dev
from pmb.lab.store import Store
from pmb.settings import Settings

pytestmark = pytest.mark.slow  # two child processes

TASK = TASKS["rotten-tomatoes"]


def test_labels_are_read_once_and_texts_by_their_rows(
    home_with_assets: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = load_task(TASK, home_with_assets.assets).dev
    labels = dev.dev_labels(store, home_with_assets, TASK)
    assert labels == tuple(example.label for example in expected)
    assert dev.dev_texts(home_with_assets, TASK, [1999, 3]) == [expected[1999].texts, expected[3].texts]
    monkeypatch.setattr(dev, "ask", None)  # a second child would fail
    assert dev.dev_labels(store, home_with_assets, TASK) == labels
