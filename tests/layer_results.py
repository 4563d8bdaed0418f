"""Made-up measurements of layers for tests of what stores and shows them."""

from __future__ import annotations

from collections.abc import Sequence

from pmb.catalog.models import MODELS
from pmb.catalog.tasks import TASKS
from pmb.lab import probes
from pmb.lab.plan import plan_whole, spec_of
from pmb.lab.schema import layer_probes
from pmb.lab.store import Store
from pmb.spec import LayerProbe, Score

TUNED = (0.5, 0.60, 0.65, 0.70, 0.76, 0.79, 0.80)  # embeddings first


def score(value: float) -> Score:
    return Score("accuracy", value, value - 0.02, value + 0.02)


def layer_probe(tuned: Sequence[float] = TUNED, more: float = 0.0) -> LayerProbe:
    """The embeddings never vary; `more` is added to the scores and taken from the similarities of the layers."""
    depth = len(tuned) - 1
    return LayerProbe(
        metric="accuracy",
        score=score(tuned[-1] + more),
        similarity=(1.0, *(1 - 0.1 * layer - more for layer in range(depth))),
        tuned=(score(tuned[0]), *(score(value + more) for value in tuned[1:])),
        pretrained=(score(0.5), *(score(0.55) for _ in range(depth))),
        num_train=2000,
        num_dev=2000,
        device="test device",
        machine="test machine",
        versions={"torch": "2.13.0"},
    )


def ask_for_probe(
    store: Store, model: str = "minilm-l6", task: str = "rotten-tomatoes", seed: int = 0, recipe: str = "full"
) -> str:
    """Ask for one measurement; a model that is not looked up stands for itself."""
    row = probes._new_row(spec_of(plan_whole(MODELS[model]), TASKS[task], recipe, seed))
    with store.connect() as connection:
        connection.execute(store.insert_new(layer_probes), row)
    return str(row["key"])


def finish_probe(
    store: Store,
    model: str = "minilm-l6",
    task: str = "rotten-tomatoes",
    seed: int = 0,
    probe: LayerProbe | None = None,
) -> str:
    """A measurement that has ended."""
    key = ask_for_probe(store, model, task, seed)
    probes.finish(store, key, probe or layer_probe(more=0.004 * seed))
    return key
