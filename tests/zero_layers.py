"""Made-up scores of zero layers for tests of what stores and shows them."""

from __future__ import annotations

from collections.abc import Sequence

from pmb.catalog.models import MODELS
from pmb.catalog.recipes import find_recipe
from pmb.catalog.tasks import TASKS
from pmb.lab import zero_layers
from pmb.lab.store import Store
from pmb.spec import Score, ZeroLayers

MODEL = MODELS["minilm-l6"]


def measured(bag: float, constant: float = 0.5, metrics: Sequence[str] = ("accuracy",)) -> ZeroLayers:
    """The same score in every metric."""

    def scores(value: float) -> tuple[Score, ...]:
        return tuple(Score(metric, value, value - 0.01, value + 0.01) for metric in metrics)

    return ZeroLayers(scores(bag), scores(constant), 2000, 2000, 0.5, {"scikit-learn": "1.9.1"})


def save(store: Store, bag: Sequence[float], recipe: str = "full", task: str = "rotten-tomatoes") -> None:
    """Scores of a bag of words for the seeds from 0, of which there is one where a recipe takes all train items."""
    row, values = TASKS[task], find_recipe(recipe, MODEL, TASKS[task])
    for seed, score in enumerate(bag):
        zero_layers.save(store, row, values, seed, measured(score, metrics=row.metrics))
