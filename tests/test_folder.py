"""A folder with a model is data: what is wrong with it is said in one sentence, and nothing in it is run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pmb.bounds import MOST_JSON_MEGABYTES, MOST_LAYERS, MOST_TOKENIZER_MEGABYTES
from pmb.engine import surgery
from pmb.engine.batches import encode
from pmb.engine.examples import Example
from pmb.errors import BadInput
from tests.models import LAYERS, MARKER, PICKLED, code, content, index, make_folder, settings, tensors, truncated

LAST = f"encoder.layer.{LAYERS - 1}.output.dense"


@pytest.fixture(scope="module")
def whole_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whose files nobody changes."""
    return make_folder(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def folder(whole_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One to be spoilt, which is the current one; who asks a question is not answered."""
    monkeypatch.chdir(shutil.copytree(whole_folder, tmp_path / "model"))
    monkeypatch.setattr("builtins.input", lambda _: pytest.fail("a question was asked"))
    return tmp_path / "model"


def test_a_folder_that_is_whole_is_opened(folder: Path) -> None:
    assert surgery.describe(folder)["num_hidden_layers"] == LAYERS
    index("part.safetensors")(folder)
    assert surgery.describe(folder)["num_hidden_layers"] == LAYERS


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (settings(num_hidden_layers=2), "have 3 layers, and their config says 2"),
        (settings(num_hidden_layers=6), r"lack 48 tensors of their config's model, as encoder\.layer\.3"),
        (settings(num_hidden_layers=10_000), f"num_hidden_layers 10000; from -{MOST_LAYERS} to {MOST_LAYERS} is"),
        (settings(num_hidden_layers=10**400), "cannot be opened|is no JSON|num_hidden_layers 1000"),
        (settings(num_hidden_layers=-1), "does not say how many layers it has"),
        (settings(num_hidden_layers="3"), "'num_hidden_layers' expected int, got str"),
        (settings(num_hidden_layers=None), "'num_hidden_layers' expected int"),
        (settings(hidden_size=32), r"embeddings.* has the shape \[\d+\b.*\], and the config's model has \[32\b"),
        (
            settings(hidden_size=9_999_999),
            r"cannot be opened|describes [\d,]+ parameters; its weights have [\d,]+ bytes",
        ),
        (settings(vocab_size=10**12), "says vocab_size 1000000000000; from"),
        (settings(vocab_size=9_000_000), r"describes 144,[\d,]+ parameters; its weights have [\d,]+ bytes"),
        (settings(hidden_act="nothing"), "cannot be opened: 'nothing'"),
        (settings(dtype="system"), "cannot be opened"),
        (settings(quantization_config={"quant_method": "gptq"}), "cannot be opened"),
        (settings(attn_implementation="evil/kernel"), "asks for code from elsewhere"),
        (settings(transformers_weights="../model/other.safetensors"), "cannot be opened"),
        (content("config.json", "[1, 2]"), "cannot be used: expected `object`, got `array`"),
        (content("config.json", "{"), "config.json is no JSON: Input data was truncated"),
        (content("config.json", "[" * 100_000), "nested too deeply"),
        (content("config.json", b'{"model_type": "\xff"}'), "config.json is no JSON"),
        (content("config.json", " " * (MOST_JSON_MEGABYTES * 1_000_001)), f"at most {MOST_JSON_MEGABYTES} are opened"),
        (content("vocab.txt", "x" * (MOST_TOKENIZER_MEGABYTES * 1_000_001)), f"most {MOST_TOKENIZER_MEGABYTES} are"),
        (content("tokenizer.json", '{"model": 1}'), "cannot be opened"),
        (content("tokenizer_config.json", "no"), "cannot be opened"),
        (tensors(lambda t: t.pop(f"{LAST}.weight")), rf"lack 1 tensors of their config's model, as {LAST}\.weight"),
        (tensors(lambda t: t.update({f"{LAST}.bias": torch.zeros(7)})), rf"{LAST}\.bias in .* has the shape \[7\]"),
        (tensors(lambda t: t[f"{LAST}.bias"].fill_(float("nan"))), rf"{LAST}\.bias in .* not numbers or not finite"),
        (tensors(lambda t: t[f"{LAST}.bias"].fill_(float("inf"))), rf"{LAST}\.bias in .* not numbers or not finite"),
        (tensors(lambda t: t.clear()), "lack .* tensors|parameters; its weights have"),
        (truncated, "safetensors cannot be opened: .*not fully covered"),
        (content("model.safetensors", PICKLED), "safetensors cannot be opened"),
        (content("model.safetensors", b""), "safetensors cannot be opened"),
        (content("pytorch_model.bin", PICKLED), ""),  # beside whole weights nobody looks at it
        (index("../model/part.safetensors"), "which is no safetensors file of this folder"),
        (index("/etc/passwd"), "which is no safetensors file of this folder"),
        (index("elsewhere.safetensors"), "names 'elsewhere.safetensors', which is not there"),
        (code(), ""),  # transformers has a BERT of its own
        (code(model_type="evil"), "cannot be opened"),
    ],
)
def test_a_folder_that_lies_is_refused_in_one_sentence(
    folder: Path, spoil: Callable[[Path], None], sentence: str
) -> None:
    spoil(folder)
    if sentence:
        with pytest.raises(BadInput, match=sentence) as raised:
            surgery.describe(folder)
        assert "\n" not in str(raised.value)
        assert len(str(raised.value)) < 600
    else:
        assert surgery.describe(folder)["num_hidden_layers"] == LAYERS
    assert not (folder / MARKER).exists()


def test_a_pickle_alone_is_not_opened(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    content("pytorch_model.bin", PICKLED)(folder)
    with pytest.raises(BadInput, match="no safetensors weights; weights in other formats are not opened"):
        surgery.describe(folder)
    with pytest.raises(BadInput, match="cannot be opened"):
        surgery.load_encoder(folder)
    assert not (folder / MARKER).exists()


def test_what_a_run_opens_is_checked_as_well(folder: Path) -> None:
    tensors(lambda t: t[f"{LAST}.bias"].fill_(float("nan")))(folder)
    with pytest.raises(BadInput, match="not numbers or not finite"):
        surgery.load_classifier(folder, ("bad", "good"))


def test_a_head_of_another_task_in_the_folder_gives_way_to_a_new_one(folder: Path) -> None:
    surgery.load_classifier(folder, ("a", "b", "c")).save_pretrained(folder)
    assert surgery.load_classifier(folder, ("bad", "good")).config.num_labels == 2


def test_tokens_that_the_model_does_not_know_are_named(folder: Path) -> None:
    model, tokenizer = surgery.load_encoder(folder), surgery.load_tokenizer(folder)
    known = encode(tokenizer, [Example(("a good film",), 0)], 64)
    surgery.check_tokens(model, [known], folder)
    with (folder / "vocab.txt").open("a", encoding="utf-8") as file:
        file.write("\nmore")
    wider = encode(surgery.load_tokenizer(folder), [Example(("more",), 0)], 64)
    with pytest.raises(BadInput, match="gives token 10; its model has 10"):
        surgery.check_tokens(model, [wider], folder)
    longer = encode(tokenizer, [Example(("a " * 100,), 0)], 128)
    with pytest.raises(BadInput, match="reads 64 tokens at most, and the recipe gives it 102"):
        surgery.check_tokens(model, [longer], folder)
