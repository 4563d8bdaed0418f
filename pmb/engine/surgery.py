"""Opening a pre-trained encoder and taking layers out of it."""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.initialization import no_init_weights
from transformers.tokenization_utils_base import VERY_LARGE_INTEGER

from pmb.engine import folder as folders
from pmb.engine.batches import Encoded
from pmb.errors import BadInput
from pmb.strategies import check_kept_layers, misplaced

NOT_A_LAYER = ("label", "token")  # in names of settings whose entries are labels or tokens, however many there are
NEW = "pooler"  # a layer over the encoder that a pre-trained one may lack, as it lacks a classifier


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer beside a model, held to what the model reads; raises BadInput.

    Its `model_max_length` is the number of tokens that the model reads, whatever the tokenizer's files say. It gives
    no token types where the model has one type alone, as a RoBERTa with a BERT tokenizer does.
    """
    tokenizer = folders.open_tokenizer(folder)
    model = folders.empty_model(folder)
    tokenizer.model_max_length = tokens_read(model) or VERY_LARGE_INTEGER
    if rows_of(model, "token_type_embeddings", 2) < 2:
        names = [name for name in tokenizer.model_input_names if name != "token_type_ids"]
        tokenizer.model_input_names = tokenizer.init_kwargs["model_input_names"] = names  # the second is what is saved
    return tokenizer


def tokens_read(model: PreTrainedModel) -> int | None:
    """The number of tokens that the model reads at most; None where its config and modules set no limit.

    Positions of RoBERTa and its relatives begin after the padding token, so that 514 of them read 512 tokens.
    """
    limits = [getattr(model.config, "max_position_embeddings", None)]
    for path, module in model.named_modules():
        weight = getattr(module, "weight", None)
        if path.rpartition(".")[2] == "position_embeddings" and isinstance(weight, torch.Tensor) and weight.dim() == 2:
            padding = getattr(module, "padding_idx", None)
            limits.append(len(weight) - (0 if padding is None else padding + 1))
    return min((limit for limit in limits if isinstance(limit, int) and limit > 0), default=None)


def rows_of(model: nn.Module, name: str, otherwise: int) -> int:
    """The number of rows in the embedding table of that name; `otherwise` where the model has none."""
    for path, module in model.named_modules():
        if path.rpartition(".")[2] == name and isinstance(weight := getattr(module, "weight", None), torch.Tensor):
            return len(weight)
    return otherwise


def load_encoder(folder: Path) -> PreTrainedModel:
    """The pre-trained encoder without a head, in evaluation mode; raises BadInput."""
    model, told = folders.open_model(AutoModel, folder)
    check_weights(model, told, folder)
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

    Without labels the head gives one number, for a regression. Raises BadInput.
    """
    model, told = folders.open_model(AutoModelForSequenceClassification, folder, **label_settings(labels))
    check_weights(model, told, folder)
    return model


def open_classifier(folder: Path) -> PreTrainedModel:
    """A fine-tuned model as it was saved, in evaluation mode."""
    model, told = folders.open_model(AutoModelForSequenceClassification, folder)
    check_weights(model, told, folder)
    return model.eval()


def check_weights(model: PreTrainedModel, told: Mapping[str, Any], folder: Path) -> None:
    """Raise BadInput unless the weights are those of the encoder that the config describes, and numbers.

    `told`: what transformers says of names that it did not find, did not know, or found with another shape. Those of
    a head may be so: it is new. transformers would draw what an encoder lacks by chance, and say so in a warning.
    """
    base, depth = model.base_model, model.config.num_hidden_layers
    prefix = "" if base is model else f"{model.base_model_prefix}."
    lacking = sorted(name for name in told["missing_keys"] if name.startswith(prefix) and NEW not in name)
    if lacking:
        raise BadInput(f"The weights in {folder} lack {len(lacking)} tensors of their config's model, as {lacking[0]}.")
    for name, found, wanted in sorted(told["mismatched_keys"]):
        if name.startswith(prefix):
            raise BadInput(
                f"{name} in {folder} has the shape {list(found)}, and the config's model has {list(wanted)} there."
            )
    if (path := _path_of(base)) and (more := _layers_beyond(told["unexpected_keys"], path, depth)):
        raise BadInput(f"The weights in {folder} have {more} layers, and their config says {depth}.")
    wrong = next((n for n, value in base.named_parameters() if not torch.isfinite(value).all()), None)
    if wrong:
        raise BadInput(f"{wrong} in {folder} holds values that are not numbers or not finite.")


def check_tokens(model: PreTrainedModel, parts: Iterable[Encoded], folder: Path) -> None:
    """Raise BadInput where a tokenizer gives tokens or types that its model has no vector for, or too many tokens."""
    vocabulary, places = vocabulary_size(model), tokens_read(model)
    types = rows_of(model, "token_type_embeddings", 0)
    for part in parts:
        largest = max(max(row, default=0) for row in part.token_ids)
        if vocabulary is not None and largest >= vocabulary:
            raise BadInput(f"The tokenizer in {folder} gives token {largest}; its model has {vocabulary}.")
        if types and part.token_type_ids and (highest := max(map(max, part.token_type_ids))) >= types:
            raise BadInput(f"The tokenizer in {folder} gives token type {highest}; its model has {types}.")
        longest = max(map(len, part.token_ids))
        if places is not None and longest > places:
            raise BadInput(f"The model in {folder} reads {places} tokens at most, and the recipe gives it {longest}.")


def vocabulary_size(model: PreTrainedModel) -> int | None:
    """The number of rows in the model's table of tokens; None where it has no such table (CANINE hashes characters)."""
    try:
        table = model.get_input_embeddings()
    except NotImplementedError:
        return None
    weight = getattr(table, "weight", None)
    return len(weight) if isinstance(weight, torch.Tensor) else None


def _path_of(base: nn.Module) -> str:
    """The name of the encoder's list of layers; empty where there is no single one."""
    found = list(_outer_lists(base))
    return found[0] if len(found) == 1 else ""


def _outer_lists(model: nn.Module) -> dict[str, nn.ModuleList]:
    """The lists of modules that are in no other, by name."""
    lists = {path: module for path, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    return {p: m for p, m in lists.items() if not any(p != other and p.startswith(f"{other}.") for other in lists)}


def _layers_beyond(names: Iterable[str], path: str, depth: int) -> int:
    """How many layers the names of tensors speak of where that is more than `depth`, else 0."""
    pattern = re.compile(rf"(?:^|\.){re.escape(path)}\.(\d+)\.")
    numbers = [int(found[1]) for found in map(pattern.search, names) if found]
    return max(numbers, default=-1) + 1 if max(numbers, default=-1) >= depth else 0


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
    outer = _outer_lists(model)
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

    What counts layers goes with them: the numbers that layers carry, and settings of the config with an entry for each
    layer. Where all layers are the same weights, fewer of them are passed and none is removed.
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
    cut_settings(model.config, stack, kept)
    _cut_along(model, stack.depth, kept)
    return model


def _cut_along(model: PreTrainedModel, depth: int, kept: Sequence[int]) -> None:
    """Cut the tensors outside of the stack that have a part for each layer, such as those of ESM's contact head."""
    with torch.device("meta"), no_init_weights():
        described = dict(type(model)(copy.deepcopy(model.config)).named_parameters())
    for name, parameter in list(model.named_parameters()):
        wanted = described[name].shape if name in described else parameter.shape
        axes = [axis for axis, size in enumerate(parameter.shape) if wanted[axis : axis + 1] != (size,)]
        if len(axes) == 1 and parameter.shape[axes[0]] * len(kept) == wanted[axes[0]] * depth:
            axis, owner = axes[0], model.get_submodule(name.rpartition(".")[0])
            parts = parameter.detach().unflatten(axis, (depth, -1))
            chosen = parts.index_select(axis, torch.tensor(kept, device=parts.device)).flatten(axis, axis + 1)
            setattr(owner, name.rpartition(".")[2], nn.Parameter(chosen))


def cut_settings(config: PreTrainedConfig, stack: Stack, kept: Sequence[int]) -> None:
    """Have the config describe the kept layers alone, in place."""
    for name, value in list(vars(config).items()):
        if not any(word in name for word in NOT_A_LAYER):
            setattr(config, name, _entries_of(name, value, stack.depth, kept))
    if not stack.shared and getattr(config, "num_hidden_groups", None) == stack.depth:  # ALBERT, a group a layer
        config.num_hidden_groups = len(kept)
    config.num_hidden_layers = len(kept)


def _entries_of(name: str, value: Any, depth: int, kept: Sequence[int]) -> Any:
    """A setting with those entries alone that are of kept layers; the value itself where it has no entry a layer.

    A list has one where it is as long as the model is deep and holds numbers (Longformer's `attention_window`), or
    where its name speaks of layers. A dict has one where its keys are the numbers of the layers.
    """
    if isinstance(value, (list, tuple)) and len(value) == depth:
        numbers = all(entry is None or isinstance(entry, (int, float)) for entry in value)
        return [value[i] for i in kept] if numbers or "layer" in name else value
    if isinstance(value, dict) and len(value) == depth and {str(key) for key in value} == set(map(str, range(depth))):
        by_layer = {int(key): (type(key), entry) for key, entry in value.items()}
        return {by_layer[i][0](place): by_layer[i][1] for place, i in enumerate(kept)}
    return value


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

    Everything in it is opened once, so that what is wrong is said before a run waits for it. The revision is of the
    bytes of config and weights. The weights' own SHA-256 is given where they are one file.
    """
    folders.check_files(folder)
    found = describe_config(folder)
    if found["parameters"] > (there := folders.weight_bytes(folder)):
        raise BadInput(
            f"The config in {folder} describes {found['parameters']:,} parameters; its weights have {there:,} bytes."
        )
    load_encoder(folder)
    load_tokenizer(folder)
    weights = sorted(folder.glob(folders.WEIGHTS))
    digests = {path: hashlib.sha256() for path in [folder / folders.CONFIG, *weights]}
    for path in digests:
        with path.open("rb") as file:
            digests[path] = hashlib.file_digest(file, "sha256")
    revision = hashlib.sha256(b"".join(digest.digest() for digest in digests.values())).hexdigest()
    whole = digests[weights[0]].hexdigest() if len(weights) == 1 else ""
    return found | {"revision": revision[:16], "weights_sha256": whole}


def describe_config(folder: Path) -> dict[str, Any]:
    """What the folder's config alone says; raises BadInput where the architecture cannot be used."""
    model = folders.empty_model(folder)
    stack = find_stack(model)
    return {
        "architecture": model.config.model_type,
        "num_hidden_layers": stack.depth,
        "parameters": num_parameters(model),
        "kinds": stack.kinds if len(set(stack.kinds)) > 1 else (),
        "shared": stack.shared,
        "hidden_size": _whole_number(model.config, "hidden_size"),
        "max_length": tokens_read(model) or 0,
    }


def _whole_number(config: Any, setting: str) -> int:
    """A setting of a config, under whatever name the architecture has it; 0 where there is none above 0."""
    value = getattr(config, setting, 0)
    return value if isinstance(value, int) and value > 0 else 0


def on_device(model: PreTrainedModel, device: torch.device) -> PreTrainedModel:
    """The model moved to the device; transformers' own annotation of `to` hides torch's."""
    nn.Module.to(model, device)
    return model


def num_parameters(model: nn.Module) -> int:
    """Parameters, shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters())
