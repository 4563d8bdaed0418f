"""Explore's search in all its states, of made-up runs in which the right answer is known, and its report."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pmb.catalog.models import MODELS
from pmb.catalog.tasks import TASKS
from pmb.lab import queue, searches
from pmb.lab.dev import save_dev_labels
from pmb.lab.plan import scores_identity
from pmb.lab.searches import Aim, Limit
from pmb.lab.store import Store, open_store, save_layer_scores
from pmb.settings import Settings
from tests.app import opened, words
from tests.conftest import result, spec

pytestmark = pytest.mark.slow

MODEL, TASK = MODELS["minilm-l6"], TASKS["rotten-tomatoes"]
SENTENCES = 400
LABELS = tuple(int(label) for label in np.random.default_rng(0).integers(0, 2, SENTENCES))
HARDNESS = np.random.default_rng(1).random(SENTENCES)
TRUE = {6: 0.90, 5: 0.89, 4: 0.88, 3: 0.70, 2: 0.65, 1: 0.60}  # accuracy by depth


def finish_next(store: Store) -> None:
    """Do the longest-waiting run, as a worker would, with made-up answers."""
    claim = queue.claim(store, "worker")
    assert claim is not None
    rng = np.random.default_rng(int(claim.key[:8], 16))
    right = np.where(rng.random(SENTENCES) < 0.05, rng.random(SENTENCES), HARDNESS) < TRUE[len(claim.spec.kept_layers)]
    answers = tuple(int(a) for a in np.where(right, LABELS, 1 - np.array(LABELS)))
    queue.finish(store, claim.key, "worker", replace(result(float(right.mean())), predictions=answers))


def fail_next(store: Store) -> None:
    claim = queue.claim(store, "worker")
    assert claim is not None
    queue.fail(store, claim.key, "worker", "The *loss* is not a number.", "")


def begun(store: Store, settings: Settings, recipe: str, aim: Aim, limit: Limit) -> str:
    key = searches.start(store, settings, MODEL, TASK, recipe, aim, limit)
    searches.step(store, key, 2)
    return key


def carried_on(store: Store, key: str, most: int = 200) -> str:
    """So many runs, or until its verdict."""
    while most and searches.waiting_line(store, key):
        finish_next(store)
        searches.step(store, key, 2)
        most -= 1
    return key


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with searches in all states, by recipe: standard ended, stable goes on, quick failed."""
    home = tmp_path_factory.mktemp("searches")
    settings = Settings(home, "", "local", home / "nothing-shipped", None)
    store = open_store(settings)
    save_layer_scores(store, scores_identity(spec()), [0.2, 0.9, 0.8, 0.7, 0.6, 0.3])
    save_dev_labels(store, TASK, LABELS)
    carried_on(store, begun(store, settings, "standard", Aim(within=5), Limit(runs=60)))
    carried_on(store, begun(store, settings, "standard", Aim(within=1), Limit(runs=60)))

    spent = carried_on(store, begun(store, settings, "stable", Aim(within=2), Limit(runs=3)), 2)  # of the whole model
    fail_next(store)
    searches.step(store, spent, 2)
    carried_on(store, spent)
    stopped = carried_on(store, begun(store, settings, "stable", Aim(speedup=3), Limit(minutes=10)), 3)
    searches.stop(store, stopped)
    begun(store, settings, "stable", Aim(within=5), Limit(runs=12))
    assert queue.claim(store, "worker") is not None

    failed = begun(store, settings, "quick", Aim(within=1), Limit(runs=12))
    while (row := searches.get_search(store, failed)) and row["state"] == searches.OPEN:
        fail_next(store)
        searches.step(store, failed, 2)
    store.close()
    return home / "lab.sqlite"


@pytest.fixture
def shown(settings: Settings, filled: Path, content_streamlit: None) -> Iterator[Store]:
    """That store, for a page."""
    settings.home.mkdir(parents=True)
    shutil.copy(filled, settings.home)
    store = open_store(settings)
    yield store
    store.close()
