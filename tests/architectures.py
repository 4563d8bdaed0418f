"""Small models with random weights, one of each architecture that the catalog or its users bring."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

DEPTH = 4
COMMON: dict[str, Any] = {"vocab_size": 99, "num_labels": 2, "pad_token_id": 0}
BERT: dict[str, Any] = COMMON | {
    "hidden_size": 16,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
}


@dataclass(frozen=True)
class Architecture:
    """How to make one, and what is true of it."""

    name: str
    settings: dict[str, Any]
    stack: Callable[[Any], torch.nn.ModuleList]
    fast: bool = False  # of a layout that the quick layer knows
    shared: bool = False  # all layers are the same weights
    first_layer_stays: bool = False

    def build(self) -> PreTrainedModel:
        """The model, the same each time."""
        torch.manual_seed(0)
        config = CONFIG_MAPPING[self.name](**self.settings)
        model: PreTrainedModel = AutoModelForSequenceClassification.from_config(config)
        for parameter in model.parameters():  # fresh heads and norms hide differences
            torch.nn.init.normal_(parameter, std=0.3)
        return model.eval()


ARCHITECTURES = [
    Architecture("bert", BERT, lambda m: m.bert.encoder.layer, fast=True),
    Architecture("roberta", BERT | {"pad_token_id": 1}, lambda m: m.roberta.encoder.layer, fast=True),
    Architecture("camembert", BERT | {"pad_token_id": 1}, lambda m: m.roberta.encoder.layer, fast=True),
    Architecture("xlm-roberta", BERT | {"pad_token_id": 1}, lambda m: m.roberta.encoder.layer, fast=True),
    Architecture("electra", BERT | {"embedding_size": 8}, lambda m: m.electra.encoder.layer, fast=True),
    Architecture(
        "distilbert",
        COMMON | {"dim": 16, "n_layers": DEPTH, "n_heads": 2, "hidden_dim": 32, "max_position_embeddings": 64},
        lambda m: m.distilbert.transformer.layer,
        fast=True,
    ),
    Architecture(
        "xlnet",
        COMMON | {"d_model": 16, "n_layer": DEPTH, "n_head": 2, "d_inner": 32, "pad_token_id": 5},
        lambda m: m.transformer.layer,
    ),
    Architecture("albert", BERT | {"embedding_size": 8}, lambda m: m.albert.encoder.albert_layer_groups, shared=True),
    Architecture(
        "deberta-v2",
        BERT
        | {
            "relative_attention": True,
            "position_buckets": 8,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_biased_input": False,
            "pooler_hidden_size": 16,
        },
        lambda m: m.deberta.encoder.layer,
    ),
    Architecture("mpnet", BERT | {"pad_token_id": 1}, lambda m: m.mpnet.encoder.layer, fast=True),
    Architecture(
        "modernbert",
        BERT
        | {
            "global_attn_every_n_layers": 3,
            "local_attention": 4,
            "cls_token_id": 2,
            "sep_token_id": 3,
            "bos_token_id": 2,
            "eos_token_id": 3,
            "classifier_pooling": "mean",
        },
        lambda m: m.model.layers,
        first_layer_stays=True,
    ),
]

# Their modules have BERT's names, and compute something else or take other inputs.
LOOKALIKES = [
    Architecture("convbert", BERT | {"embedding_size": 8, "conv_kernel_size": 3}, lambda m: m.convbert.encoder.layer),
    Architecture("rembert", BERT | {"input_embedding_size": 8}, lambda m: m.rembert.encoder.layer),
    Architecture("luke", BERT | {"entity_vocab_size": 7, "entity_emb_size": 4}, lambda m: m.luke.encoder.layer),
    Architecture("layoutlm", BERT, lambda m: m.layoutlm.encoder.layer),
    Architecture("lilt", BERT | {"hidden_size": 24, "pad_token_id": 1}, lambda m: m.lilt.encoder.layer),
    Architecture(
        "xmod",
        BERT | {"pad_token_id": 1, "languages": ["en_XX"], "default_language": "en_XX"},
        lambda m: m.roberta.encoder.layer,
    ),
    Architecture("ibert", BERT | {"pad_token_id": 1}, lambda m: m.ibert.encoder.layer),
]
