"""An architecture is tried before it is trained: what cannot be cut rightly is refused in one sentence."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from benchmarks.encoders import DEPTH, Outcome, lines, small_config, tried
from pmb.engine import trial
from pmb.engine.batches import Encoded, batch_of
from pmb.engine.forward import plain_forward
from pmb.engine.surgery import cut, find_stack
from pmb.errors import BadInput

BERT_SIZES: dict[str, Any] = {
    "vocab_size": 99,
    "hidden_size": 16,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}


def folder_of(model_type: str, folder: Path, **settings: Any) -> Path:
    """A folder with a config alone, as the trial wants it."""
    CONFIG_MAPPING[model_type](**settings).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    "name",
    [
        *("albert", "bert", "canine", "convbert", "deberta", "esm", "funnel", "gpt2", "ibert", "lilt", "llama"),
        *("longformer", "luke", "mra", "rembert", "reformer", "squeezebert", "t5", "xlm", "xlnet", "xmod"),
    ],
)
def test_a_class_is_cut_trained_and_exported_or_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    outcome = tried(name, tmp_path)
    refused = {
        "funnel": "no lists of 4 equal layers",
        "gpt2": "GPT2ForSequenceClassification cannot be cut: it is a decoder, whose tokens read only those before",
        "llama": "LlamaForSequenceClassification cannot be cut: it is a decoder",
        "mra": "its tokens do not read one another on this machine",
        "reformer": "ReformerForSequenceClassification cannot be fine-tuned",  # it trains at one length alone
        "t5": "it is an encoder with a decoder",
        "xlm": "4 lists of 4 equal layers",
    }
    assert outcome.state == ("refused" if name in refused else "cut"), outcome
    assert refused.get(name, "") in outcome.words
    if outcome.state == "cut":
        assert outcome.previewed, outcome


def test_the_table_counts_what_became_of_the_classes() -> None:
    outcomes = [
        Outcome("a", "cut", "", True, True),
        Outcome("b", "cut", "", True, False),
        Outcome("c", "refused", "CModel cannot be cut: it is a decoder."),
        Outcome("d", "fault", "trained: IndexError: 2"),
    ]
    text = "\n".join(lines(outcomes))
    assert "4 classes with a classifier of sentences. 2 are cut, fine-tuned and exported, 2 of them previewed" in text
    assert "1 are refused before training, in one sentence; 1 break off" in text
    assert "Cut: a, b (without contribution)." in text
    assert "| c | cannot be cut: it is a decoder. |" in text
    assert "| d | fault: trained: IndexError: 2 |" in text


@pytest.mark.parametrize(
    ("model_type", "settings", "sentence"),
    [
        ("bert", BERT_SIZES | {"is_decoder": True}, "it is a decoder"),
        ("dpr", BERT_SIZES, "'dpr' cannot be used: transformers has no classifier of sentences for it"),
        ("bert", BERT_SIZES | {"hidden_size": 17}, "cannot be built from its config"),
        ("esmc", BERT_SIZES, "a cut of it, saved and opened again, is another model"),  # a scale by depth
    ],
)
def test_what_cannot_be_cut_rightly_is_refused(
    model_type: str, settings: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=sentence) as raised:
        trial.check_architecture(folder_of(model_type, tmp_path, **settings))
    assert "\n" not in str(raised.value)
    assert tempfile.gettempdir() not in str(raised.value)


def test_a_trial_takes_no_random_numbers_from_others_and_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"  # of this test alone: other processes have trials of their own
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    folder = folder_of("bert", tmp_path / "model", **BERT_SIZES)
    state = torch.random.get_rng_state()
    trial.check_architecture(folder)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert list(scratch.iterdir()) == []


def test_a_large_vocabulary_makes_no_large_trial() -> None:
    sizes = BERT_SIZES | {
        "vocab_size": 5_000_000,
        "hidden_size": 512,
        "num_hidden_layers": 24,
        "pad_token_id": 4_999_999,
    }
    model = trial.small_cut(CONFIG_MAPPING["bert"](**sizes))
    assert sum(parameter.numel() for parameter in model.parameters()) < 5_000_000
    assert (model.config.num_hidden_layers, model.config.pad_token_id) == (2, 999)


@pytest.mark.parametrize(
    ("kinds", "kept"), [((0, 0, 0, 0), (1, 3)), ((0, 1, 1, 1), (0, 3)), ((0, 0), (0, 1)), ((0,), (0,))]
)
def test_two_layers_are_tried_that_leave_their_places_where_they_may(
    kinds: tuple[int, ...], kept: tuple[int, ...]
) -> None:
    assert trial._two_layers(kinds) == kept


# What the config and the tensors around the stack say of each layer


def model_of(model_type: str, **settings: Any) -> PreTrainedModel:
    """A classifier of the class, its random weights the same each time."""
    torch.manual_seed(0)
    config = small_config(model_type)
    for name, value in settings.items():
        setattr(config, name, value)
    model: PreTrainedModel = AutoModelForSequenceClassification.from_config(config)
    return model.eval()


def test_a_window_for_each_layer_is_cut_along() -> None:
    model = model_of("longformer", attention_window=[4, 6, 8, 10])
    assert cut(model, (1, 3)).config.attention_window == [6, 10]


def test_a_group_for_each_layer_goes_with_its_layer() -> None:
    model = model_of("albert", num_hidden_groups=DEPTH)
    assert not find_stack(model).shared
    config = cut(model, (0, 3)).config
    assert (config.num_hidden_layers, config.num_hidden_groups) == (2, 2)
    data = Encoded(((2, 10, 11, 3), (2, 12, 3)), (0, 1), 0)
    assert torch.isfinite(plain_forward(model)(batch_of(data, range(2), torch.device("cpu")))).all()


def test_a_tensor_with_a_part_for_each_layer_is_cut_along() -> None:
    model: Any = model_of("esm")
    heads = model.config.num_attention_heads
    before = model.esm.contact_head.regression.weight.detach().clone()
    cut(model, (1, 3))
    after = model.esm.contact_head.regression.weight
    assert isinstance(after, nn.Parameter)
    assert torch.equal(after, torch.cat([before[:, heads : 2 * heads], before[:, 3 * heads :]], dim=1))


def test_settings_are_cut_by_what_they_hold_and_labels_and_tokens_never() -> None:
    model = model_of(
        "bert",
        scales=[0.1, None, 0.3, 0.4],
        layer_kinds=["a", "b", "c", "d"],
        languages=["en", "de", "fr", "it"],
        suppressed_tokens=[1, 2, 3, 4],
        by_number={"0": "a", "1": "b", "2": "c", "3": "d"},
        id2label={0: "a", 1: "b", 2: "c", 3: "d"},
        three=[1, 2, 3],
    )
    config: Any = cut(model, (1, 3)).config
    assert (config.scales, config.layer_kinds) == ([None, 0.4], ["b", "d"])
    assert (config.languages, config.suppressed_tokens) == (["en", "de", "fr", "it"], [1, 2, 3, 4])
    assert (config.by_number, config.three) == ({"0": "b", "1": "d"}, [1, 2, 3])
    assert config.id2label == {0: "a", 1: "b", 2: "c", 3: "d"}
