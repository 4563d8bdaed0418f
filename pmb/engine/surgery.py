"""Opening a pre-trained encoder and taking layers out of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from pmb.errors import BadInput
from pmb.strategies import check_kept_layers, misplaced

# transformers opens a folder without any of these too, with an empty vocabulary.
TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model", "spm.model")


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer that lies beside the model."""
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return tokenizer


def load_encoder(folder: Path) -> PreTrainedModel:
    """The pre-trained encoder without a head, in evaluation mode."""
    model: PreTrainedModel = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    return model.eval()


def label_settings(labels: Sequence[str]) -> dict[str, Any]:
    """What a config says of the labels."""
    if not labels:
        return {"num_labels": 1}
    return {
        "num_labels": len(labels),
        "id2label": dict(enumerate(labels)),
        "label2id": {label: i for i, label in enumerate(labels)},
    }


def load_classifier(folder: Path, labels: Sequence[str]) -> PreTrainedModel:
    """The pre-trained encoder with a new classifier on its last layer; draws the head from torch's generator.

    Without labels the head gives one number, for a regression.
    """
    model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
        folder,
        local_files_only=True,
        use_safetensors=True,
        **label_settings(labels),
    )
    return model


def open_classifier(folder: Path) -> PreTrainedModel:
    """A fine-tuned model as it was saved, in evaluation mode."""
    model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
        folder, local_files_only=True, use_safetensors=True
    )
    return model.eval()


@dataclass(frozen=True, slots=True)
class Stack:
    """Where an encoder keeps its layers.

    `depth`: how many layers a token passes; `shared`: whether all of them are the same weights; `kinds`: a number for
    each layer, equal where their parameters have equal names and shapes, so that one can stand in the other's place.
    """

    layers: nn.ModuleList
    depth: int
    shared: bool
    kinds: tuple[int, ...]


def find_stack(model: PreTrainedModel) -> Stack:
    """Find the encoder's layers by what the model says of itself; raises BadInput with what was not found."""
    name, config = type(model).__name__, model.config
    depth = getattr(config, "num_hidden_layers", None)
    if not isinstance(depth, int) or depth < 1:
        raise BadInput(f"{name} cannot be cut: its config does not say how many layers it has (num_hidden_layers).")
    if getattr(config, "is_encoder_decoder", False):
        raise BadInput(f"{name} cannot be cut: it is an encoder with a decoder, and only encoders are cut here.")
    lists = {path: module for path, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    outer = {p: m for p, m in lists.items() if not any(p != other and p.startswith(f"{other}.") for other in lists)}
    found = [m for m in outer.values() if len(m) == depth and _equal_layers(m)]
    if len(found) == 1:
        return Stack(found[0], depth, False, _kinds(found[0]))
    groups = getattr(config, "num_hidden_groups", None)
    if not found and groups == 1 and len(outer) == 1:
        return Stack(next(iter(outer.values())), depth, True, (0,) * depth)
    if not found and groups:
        raise BadInput(
            f"{name} cannot be cut: its {depth} layers share {groups} groups of weights, and only one can be."
        )
    raise BadInput(
        f"{name} cannot be cut: {len(found) or 'no'} lists of {depth} equal layers were found in it, and one is needed."
    )


def cut(model: PreTrainedModel, kept: Sequence[int]) -> PreTrainedModel:
    """Remove every layer that is not kept, in place, and say so in the config; raises BadInput.

    What counts layers goes with them: numbers of the layers, and settings with a value a layer. Where all layers are
    the same weights, fewer of them are passed and none is removed.
    """
    stack = find_stack(model)
    check_kept_layers(kept, stack.depth)
    check_places(stack.kinds, kept)
    if not stack.shared:
        layers = [stack.layers[i] for i in kept]
        del stack.layers[:]
        stack.layers.extend(layers)
        for index, layer in enumerate(layers):
            for module in layer.modules():
                if hasattr(module, "layer_idx"):  # transformers numbers them; a reloaded model counts anew
                    module.layer_idx = index  # type: ignore[assignment]
    for name, value in list(vars(model.config).items()):
        if "layer" in name and isinstance(value, (list, tuple)) and len(value) == stack.depth:
            setattr(model.config, name, [value[i] for i in kept])
    model.config.num_hidden_layers = len(kept)
    return model


def check_places(kinds: Sequence[int], kept: Sequence[int]) -> None:
    """Raise BadInput where a layer would stand in the place of one with other parameters.

    A saved model is opened by its config, which knows only how many layers there are; so the layer at a place must
    have the parameters that the architecture has there. (ModernBERT's first layer has no norm before attention.)
    """
    if found := misplaced(kinds, kept):
        layer, place = found
        raise BadInput(
            f"Layer {layer} of this model cannot take the place of layer {place}: its parameters are of another form. "
            f"Keep layer {place}."
        )


def _equal_layers(layers: nn.ModuleList) -> bool:
    """Whether all are of one class, and none is a list itself (Funnel's blocks)."""
    return len({type(layer) for layer in layers}) == 1 and not isinstance(layers[0], nn.ModuleList)


def _kinds(layers: nn.ModuleList) -> tuple[int, ...]:
    forms = [tuple((name, value.shape) for name, value in layer.state_dict().items()) for layer in layers]
    return tuple(forms.index(form) for form in forms)


def describe(folder: Path) -> dict[str, Any]:
    """What a folder says of its model: the fields of a catalog row; raises BadInput where it cannot be used.

    The weights are not opened; their bytes go into the revision.
    """
    if not (folder / "config.json").is_file():
        raise BadInput(f"{folder} has no config.json, so it is no model that transformers could open.")
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise BadInput(f"{folder} has no safetensors weights; weights in other formats are not opened here.")
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise BadInput(f"{folder} has no tokenizer: none of {', '.join(TOKENIZER_FILES)} is in it.")
    digest = hashlib.sha256()
    for path in [folder / "config.json", *weights]:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return describe_config(folder) | {"revision": digest.hexdigest()[:16]}


def describe_config(folder: Path) -> dict[str, Any]:
    """What the folder's config alone says; raises BadInput where the architecture cannot be used."""
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        with torch.device("meta"):
            model: PreTrainedModel = AutoModel.from_config(config)
    except (ValueError, OSError, KeyError, TypeError) as error:
        raise BadInput(f"{folder} cannot be opened: {' '.join(str(error).split())[:300]}") from error
    stack = find_stack(model)
    return {
        "architecture": config.model_type,
        "num_hidden_layers": stack.depth,
        "parameters": num_parameters(model),
        "kinds": stack.kinds if len(set(stack.kinds)) > 1 else (),
        "shared": stack.shared,
    }


def on_device(model: PreTrainedModel, device: torch.device) -> PreTrainedModel:
    """The model moved to the device; transformers' own annotation of `to` hides torch's."""
    nn.Module.to(model, device)
    return model


def num_parameters(model: nn.Module) -> int:
    """Parameters, shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters())
