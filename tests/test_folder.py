"""A folder with a model is data: what is wrong with it is said in one sentence, and nothing in it is run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import sentencepiece
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, RobertaConfig, RobertaModel

from pmb.bounds import MOST_JSON_MEGABYTES, MOST_LAYERS, MOST_TOKENIZER_MEGABYTES
from pmb.engine import surgery
from pmb.engine.batches import Batch, Encoded, batch_of, encode
from pmb.engine.examples import Example
from pmb.engine.forward import plain_forward
from pmb.errors import BadInput
from tests.architectures import ARCHITECTURES
from tests.models import (
    LAYERS,
    MARKER,
    PICKLED,
    SIZES,
    WORDS,
    code,
    content,
    index,
    make_folder,
    settings,
    tensors,
    truncated,
)

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
        (
            tensors(lambda t: t.update({f"{LAST}.weight": torch.ones(16, 32).to(torch.int8)})),
            "in the type I8, as quant",
        ),
        (tensors(lambda t: t.update({f"{LAST}.weight": torch.ones(16, 32).to(torch.complex64)})), "in the type C64"),
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
    with pytest.raises(BadInput, match="no safetensors weights"):
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
    longer = replace(known, token_ids=((5,) * 102,))
    with pytest.raises(BadInput, match="reads 64 tokens at most, and the recipe gives it 102"):
        surgery.check_tokens(model, [longer], folder)
    typed = replace(known, token_type_ids=((0, 0, 0, 2, 2),))
    with pytest.raises(BadInput, match="gives token type 2; its model has 2"):
        surgery.check_tokens(model, [typed], folder)


@pytest.mark.parametrize(
    "spoil",
    [
        settings(torch_dtype="float16"),
        settings(dtype="bfloat16"),
        tensors(lambda t: t.update({name: value.half() for name, value in t.items()})),
        tensors(lambda t: t.update({name: value.bfloat16() for name, value in t.items()})),
        tensors(lambda t: t.update({name: value.double() for name, value in t.items()})),
    ],
    ids=["config float16", "config bfloat16", "weights float16", "weights bfloat16", "weights float64"],
)
def test_weights_are_opened_in_float32_whatever_the_config_and_the_files_say(
    folder: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(folder)
    assert surgery.describe(folder)["num_hidden_layers"] == LAYERS
    models = [surgery.load_encoder(folder), surgery.load_classifier(folder, ("bad", "good"))]
    assert {value.dtype for model in models for value in model.parameters()} == {torch.float32}
    models[1].save_pretrained(folder)
    assert {value.dtype for value in load_file(folder / "model.safetensors").values()} == {torch.float32}
    assert json.loads((folder / "config.json").read_text())["dtype"] == "float32"


@pytest.mark.parametrize("name", ["return_dict", "output_attentions", "output_hidden_states"])
def test_outputs_that_a_config_asks_for_are_left_out(folder: Path, name: str) -> None:
    settings(**{name: name != "return_dict"})(folder)
    model = surgery.load_classifier(folder, ("bad", "good")).eval()
    logits = plain_forward(model)(few_tokens())
    model.save_pretrained(folder)
    assert torch.equal(plain_forward(surgery.open_classifier(folder))(few_tokens()), logits)


def few_tokens() -> Batch:
    return batch_of(Encoded(((2, 5, 6, 3), (2, 7, 3)), (0, 1), 0), range(2), torch.device("cpu"))


def test_an_index_that_is_left_over_beside_whole_weights_is_ignored(folder: Path) -> None:
    content("model.safetensors.index.json", '{"weight_map": {"a": "model-00001-of-00002.safetensors"}}')(folder)
    assert surgery.describe(folder)["num_hidden_layers"] == LAYERS
    (folder / "model.safetensors").unlink()
    with pytest.raises(BadInput, match=r"names 'model-00001-of-00002\.safetensors', which is not there"):
        surgery.describe(folder)
    content("model.safetensors.index.json", '{"weight_map": {}}')(folder)
    with pytest.raises(BadInput, match="names no file of weights"):
        surgery.describe(folder)


def test_a_variant_is_neither_opened_nor_in_the_way(folder: Path) -> None:
    content("model.fp16.safetensors", b"half of a download")(folder)
    assert surgery.describe(folder)["num_hidden_layers"] == LAYERS
    (folder / "model.safetensors").unlink()
    with pytest.raises(BadInput, match=r"'model\.fp16\.safetensors' is not opened by itself\. Rename it"):
        surgery.describe(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "vocab.txt", "tokenizer.json"])
def test_a_git_lfs_pointer_is_called_by_its_name(folder: Path, name: str) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 123456\n"
    content(name, pointer)(folder)
    with pytest.raises(BadInput, match=rf"{name} is a Git LFS pointer, not the file itself\. Run `git lfs pull`"):
        surgery.describe(folder)


@pytest.fixture
def roberta(whole_folder: Path, tmp_path: Path) -> Path:
    """A RoBERTa with one token type, 40 positions and padding token 0, beside a BERT tokenizer."""
    folder = shutil.copytree(whole_folder, tmp_path / "roberta")
    sizes = {"vocab_size": len(WORDS), "num_hidden_layers": LAYERS, "type_vocab_size": 1, "pad_token_id": 0, **SIZES}
    RobertaModel(RobertaConfig(max_position_embeddings=40, **sizes)).save_pretrained(folder)
    return folder


def test_token_types_that_a_model_has_no_vector_for_are_left_out(roberta: Path) -> None:
    tokenizer = surgery.load_tokenizer(roberta)
    pairs = encode(tokenizer, [Example(("a good film", "a bad film"), 0)], 64)
    assert pairs.token_type_ids is None
    surgery.check_tokens(surgery.load_encoder(roberta), [pairs], roberta)
    tokenizer.save_pretrained(roberta)  # as an export does
    again = AutoTokenizer.from_pretrained(roberta)
    assert "token_type_ids" not in again(["a film"], ["good"])


def test_sentences_are_cut_to_the_positions_that_a_model_reads(roberta: Path) -> None:
    model, tokenizer = surgery.load_encoder(roberta), surgery.load_tokenizer(roberta)
    assert surgery.tokens_read(model) == 39  # the first position is the padding token's
    data = encode(tokenizer, [Example(("a film " * 50,), 0)], 128)
    assert len(data.token_ids[0]) == 39
    surgery.check_tokens(model, [data], roberta)
    batch = batch_of(data, [0], torch.device("cpu"))
    assert torch.isfinite(model(input_ids=batch.input_ids).last_hidden_state).all()


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SentencePiece model of a few words."""
    path = tmp_path_factory.mktemp("pieces")
    words = ["a good film", "a bad film", "the plot was thin", "the actors were fine", "music and light"]
    (path / "text.txt").write_text("\n".join(words * 20), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(path / "text.txt"),
        model_prefix=str(path / "m"),
        vocab_size=33,
        user_defined_symbols=["<pad>", "[CLS]", "[SEP]", "[MASK]"],  # ALBERT's files have them
        minloglevel=2,
        num_threads=1,
    )
    return path / "m.model"


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("deberta-v2", "spm.model"),
        ("albert", "spiece.model"),
        ("xlnet", "spiece.model"),
        ("xlm-roberta", "sentencepiece.bpe.model"),
        ("camembert", "sentencepiece.bpe.model"),
    ],
)
def test_a_tokenizer_that_is_a_sentencepiece_model_alone_is_opened(
    pieces: Path, tmp_path: Path, name: str, file: str
) -> None:
    architecture = next(one for one in ARCHITECTURES if one.name == name)
    architecture.build().save_pretrained(tmp_path)
    shutil.copy(pieces, tmp_path / file)
    assert surgery.describe(tmp_path)["architecture"] == name
    tokenizer = surgery.load_tokenizer(tmp_path)
    data = encode(tokenizer, [Example(("the plot was good",), 0)], 64)
    assert tokenizer.decode(list(data.token_ids[0]), skip_special_tokens=True) == "the plot was good"
    surgery.check_tokens(surgery.load_encoder(tmp_path), [data], tmp_path)
