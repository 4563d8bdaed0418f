"""The catalog's facts about models against the same architectures in their true size, built without weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from pmb.catalog.models import BASELINES, MODELS, check_places
from pmb.engine.surgery import find_stack, num_parameters
from pmb.errors import BadInput

LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
ROBERTA = {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1, "pad_token_id": 1}
DEBERTA_V3 = {
    "vocab_size": 128100,
    "type_vocab_size": 0,
    "relative_attention": True,
    "position_buckets": 256,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "pooler_hidden_size": 768,
    "hidden_size": 768,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
}
# What the published config.json of each says where it differs from the architecture's defaults.
SETTINGS: dict[str, dict[str, Any]] = {
    "minilm-l6": {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536},
    "all-mpnet-base-v2": {"vocab_size": 30527, "max_position_embeddings": 514},
    "bert-base-cased": {"vocab_size": 28996},
    "bert-base-uncased": {},
    "bert-large-uncased": LARGE,
    "roberta-base": ROBERTA,
    "roberta-large": ROBERTA | LARGE,
    "distilbert-base-uncased": {},
    "distilroberta-base": ROBERTA | {"num_hidden_layers": 6},
    "xlnet-base-cased": {"d_model": 768, "n_layer": 12, "n_head": 12, "d_inner": 3072},
    "xlnet-large-cased": {},
    "albert-base-v2": {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072},
    "electra-small-discriminator": {},
    "electra-base-discriminator": {
        "embedding_size": 768,
        "hidden_size": 768,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
    },
    "deberta-v3-small": DEBERTA_V3 | {"num_hidden_layers": 6},
    "deberta-v3-base": DEBERTA_V3 | {"num_hidden_layers": 12},
    "mpnet-base": {"vocab_size": 30527, "max_position_embeddings": 514},
    "MiniLM-L12-H384-uncased": {"hidden_size": 384, "intermediate_size": 1536},
    "TinyBERT_General_4L_312D": {"hidden_size": 312, "num_hidden_layers": 4, "intermediate_size": 1200},
    "TinyBERT_General_6L_768D": {"num_hidden_layers": 6},
    "ModernBERT-base": {},
}


@pytest.mark.parametrize("model", MODELS)
def test_layers_parameters_and_form_are_those_of_the_architecture(model: str) -> None:
    row = MODELS[model]
    with torch.device("meta"):
        built = AutoModel.from_config(CONFIG_MAPPING[row.architecture](**SETTINGS[model]))
    stack = find_stack(built)
    assert (stack.depth, num_parameters(built)) == (row.num_hidden_layers, row.parameters)
    assert stack.shared == row.shared
    assert stack.kinds == (row.kinds or (0,) * row.num_hidden_layers)


def test_a_cut_that_a_model_does_not_allow_is_refused_before_anything_is_loaded() -> None:
    check_places(MODELS["ModernBERT-base"], (0, 5, 9))
    with pytest.raises(BadInput, match="Layer 1 of ModernBERT base cannot take the place of layer 0.*keep layer 0"):
        check_places(MODELS["ModernBERT-base"], (1, 2))
    check_places(MODELS["bert-base-cased"], (5, 9))


def test_what_stands_beside_a_models_cuts_is_in_the_catalog_and_no_deeper_than_it_is() -> None:
    for model, baselines in BASELINES.items():
        for baseline in baselines:
            assert baseline.depth <= MODELS[baseline.model].num_hidden_layers
            assert baseline.depth <= MODELS[model].num_hidden_layers
