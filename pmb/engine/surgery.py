"""Opening a pre-trained encoder and taking layers out of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from pmb.errors import BadInput
from pmb.strategies import check_kept_layers


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer that lies beside the model."""
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return tokenizer


def load_encoder(folder: Path) -> PreTrainedModel:
    """The pre-trained encoder without a head, in evaluation mode."""
    model: PreTrainedModel = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    return model.eval()


def load_classifier(folder: Path, labels: Sequence[str]) -> PreTrainedModel:
    """The pre-trained encoder with a new classifier on its last layer; draws the head from torch's generator."""
    model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
        folder,
        local_files_only=True,
        use_safetensors=True,
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
    )
    return model


def layer_stack(model: nn.Module, num_hidden_layers: int) -> nn.ModuleList:
    """The encoder's list of layers: the one ModuleList as long as the config says the model is deep.

    Raises BadInput where there is none, or more than one.
    """
    stacks = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == num_hidden_layers]
    if len(stacks) != 1:
        raise BadInput(
            f"{type(model).__name__} cannot be cut: {len(stacks)} lists of {num_hidden_layers} layers were found in "
            "it, not one."
        )
    return stacks[0]


def cut(model: PreTrainedModel, kept: Sequence[int]) -> PreTrainedModel:
    """Remove every layer that is not kept, in place, and set the depth in the config; raises BadInput."""
    stack = layer_stack(model, model.config.num_hidden_layers)
    check_kept_layers(kept, len(stack))
    layers = [stack[i] for i in kept]
    del stack[:]
    stack.extend(layers)
    for index, layer in enumerate(layers):
        for module in layer.modules():
            if hasattr(module, "layer_idx"):  # transformers numbers attention modules; a reloaded model counts anew
                module.layer_idx = index  # type: ignore[assignment]
    model.config.num_hidden_layers = len(layers)
    return model


def on_device(model: PreTrainedModel, device: torch.device) -> PreTrainedModel:
    """The model moved to the device; transformers' own annotation of `to` hides torch's."""
    nn.Module.to(model, device)
    return model


def num_parameters(model: nn.Module) -> int:
    """Parameters, shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters())
