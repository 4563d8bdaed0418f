"""Every encoder class of the pinned transformers: is it cut, trained and exported, or refused before it is trained?

Run: python -m benchmarks.encoders [--only esm,luke] [--folder DIR] [--write]
Each class that transformers has a classifier of sentences for is built small, with random weights, beside a tokenizer
of a few words, and goes the way of a user's folder: looked into, previewed, two layers of it fine-tuned for a few
steps, exported and opened again. A class that breaks off otherwise than with the lab's own sentence is a fault. With a
--folder, classes that were done before are not done again. --write puts the table into benchmarks/RESULTS.md.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModel, AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedTokenizerFast
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

from benchmarks.results import publish
from pmb.catalog.models import BaseModel
from pmb.catalog.recipes import RECIPES
from pmb.catalog.tasks import Task
from pmb.engine import batches, export, finetune, preview, run, similarity, surgery
from pmb.engine.examples import Example
from pmb.errors import PmbError

DEPTH = 4
KEPT = ((0, 2), (0, 3), (0, 1))  # the first that an architecture allows is trained
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{i}" for i in range(60)))
SENTENCES = 24
CPU = torch.device("cpu")
RECIPE = replace(RECIPES["quick"], name="sweep", epochs=1, train_sentences=SENTENCES)
TASK = Task("sweep", "Sweep", ("accuracy",), ("no", "yes"), "", "made up", "Made-up sentences.")

# Names of settings and what makes a model small; each is set where a config has it.
SMALL: dict[str, Any] = {
    **dict.fromkeys(("vocab_size", "entity_vocab_size"), 100),
    "num_hidden_layers": DEPTH,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 64,
    "embedding_size": 32,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "num_labels": 2,
    **dict.fromkeys(("encoder_layers", "decoder_layers", "depth"), DEPTH),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads", "num_heads"), 4),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim", "ffn_dim"), 64),
    **dict.fromkeys(("qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim", "q_lora_rank", "kv_lora_rank"), 8),
    **dict.fromkeys(("n_routed_experts", "num_experts", "num_local_experts"), 4),
    **dict.fromkeys(("n_group", "topk_group", "first_k_dense_replace"), 1),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size", "out_hidden_size"), 32),
    "num_experts_per_tok": 2,
    "rotary_dim": 4,
    "layer_types": None,
}
# Settings of classes whose parts have names or sizes of their own; None leaves one of the above out.
MORE: dict[str, dict[str, Any]] = {
    **{name: {"num_key_value_heads": 4} for name in ("axk1", "axk2", "deepseek_v2", "deepseek_v3", "minicpm3")},
    "mistral4": {"num_key_value_heads": 4, "head_dim": None},
    "cohere_compass_text": {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 10_000.0}}},
    "reformer": {
        "num_hidden_layers": None,
        "attn_layers": ["local", "lsh"] * (DEPTH // 2),
        "axial_pos_shape": [8, 8],
        "axial_pos_embds_dim": [8, 24],
        "num_buckets": 4,
        "attention_head_size": 8,
        "lsh_attn_chunk_length": 8,
        "local_attn_chunk_length": 8,
        "feed_forward_size": 64,
    },
    "xlnet": {"max_position_embeddings": None, "d_inner": 64, "d_head": 8},
    "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
    "zamba": {"num_hidden_layers": 10},
    "zamba2": {name: ["mamba", "hybrid"] * (DEPTH // 2) for name in ("layers_block_type", "layer_types")},
    "doge": {"num_experts": 16},
    "esmc": {"num_key_value_heads": 4},
    "falcon": {"head_dim": None},
    "funnel": {
        "num_hidden_layers": None,
        "architectures": ["FunnelModel"],
        "block_sizes": [2, 2],
        "d_model": 32,
        "n_head": 4,
        "d_head": 8,
    },
    "gpt_neo": {"attention_types": [[["global", "local"], DEPTH // 2]]},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "use_mamba_kernels": False},
    "layoutlmv3": {"coordinate_size": 5, "shape_size": 6},
    "longformer": {"attention_window": 8},  # to which every sentence is padded
    "lilt": {"hidden_size": 48, "num_attention_heads": 4},
}


@dataclass(frozen=True)
class Outcome:
    """What became of a class: "cut", "refused" or "fault", with the sentence; whether it is previewed and measured."""

    name: str
    state: str
    words: str = ""
    previewed: bool = False
    measured: bool = False
    seconds: float = 0.0


def small_config(name: str) -> PreTrainedConfig:
    """A config of the class with few and thin layers."""
    kind = CONFIG_MAPPING[name]
    return kind(**_small_settings(kind(), MORE.get(name, {})))


def _small_settings(whole: PreTrainedConfig, more: dict[str, Any]) -> dict[str, Any]:
    """Those of SMALL that the config has, also within a config of its parts."""
    settings = {name: value for name, value in (SMALL | more).items() if name in more or hasattr(whole, name)}
    parts = {name: getattr(whole, name, None) for name in whole.sub_configs}
    settings |= {name: _small_settings(part, {}) for name, part in parts.items() if part is not None}
    return {name: value for name, value in settings.items() if value is not None}


def make_folder(name: str, folder: Path) -> None:
    """A model of the class with random weights, and a tokenizer of a few words."""
    torch.manual_seed(0)
    config = small_config(name)
    try:
        model = AutoModel.from_config(config).eval()
    except ImportError:  # of a package that is not here: the lab has to say so, without weights to open
        config.save_pretrained(folder)
        save_file({"none": torch.zeros(1)}, folder / "model.safetensors")
    else:
        if not config.is_encoder_decoder:  # what plain transformers cannot do shows that the config is built wrongly
            classifier = AutoModelForSequenceClassification.from_config(config).eval()
            classifier(input_ids=torch.tensor([[2, 10, 11, 12, 3]]))
        model.save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    pair = "[CLS] $A [SEP] $B:1 [SEP]:1"
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", pair, [("[CLS]", 2), ("[SEP]", 3)])
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)


def examples() -> list[Example]:
    """Pairs of sentences of unlike lengths; one word tells the label."""
    found = []
    for i in range(SENTENCES):
        words = [f"w{(7 * i + j) % 50}" for j in range(3 + i % 9)]
        found.append(Example((" ".join([f"w{50 + i % 2}", *words]), " ".join(words[:2])), i % 2))
    return found


def tried(name: str, folder: Path) -> Outcome:
    """The way of one class, in a folder that is there for it alone."""
    start = time.perf_counter()
    try:
        make_folder(name, folder / "model")
    except Exception as error:  # no fault of the lab's: the sweep has to learn how to build it
        return Outcome(name, "not built", _line(error))
    row = BaseModel(name, name, "", 0, None, "", "", folder=str(folder / "model"))
    try:
        found = run.inspect_model(row, folder)
    except PmbError as error:
        return Outcome(name, "refused", _line(error), seconds=time.perf_counter() - start)
    except Exception as error:
        return Outcome(name, "fault", f"looked into: {type(error).__name__}: {_line(error)}")
    previewed = measured = False
    step = "trained"
    try:
        train_and_export(found, folder)
        step = "previewed"
        previewed = _works(lambda: previews(folder / "model"))
        step = "measured"
        measured = _works(lambda: similarity.layer_similarity(folder / "model", examples(), CPU))
    except Exception as error:
        return Outcome(name, "fault", f"{step}: {type(error).__name__}: {_line(error)}")
    return Outcome(name, "cut", "", previewed, measured, time.perf_counter() - start)


def train_and_export(row: BaseModel, folder: Path) -> None:
    """Cut, fine-tune, score, save and open again, as a run and its export do."""
    model = surgery.load_classifier(folder / "model", TASK.labels)
    tokenizer = surgery.load_tokenizer(folder / "model")
    data = batches.encode(tokenizer, examples(), RECIPE.max_length)
    surgery.check_tokens(model, [data], folder)
    surgery.cut(model, next(kept for kept in KEPT if not row.kinds or _allowed(row.kinds, kept)))
    finetune.fine_tune(model, data, RECIPE, 0, CPU, lambda _: None)
    finetune.predict(model, data, CPU)
    export.save(model, tokenizer, TASK, RECIPE.max_length, folder / "exported")
    export.check_opens(folder / "exported", model, data)


def _allowed(kinds: Sequence[int], kept: Sequence[int]) -> bool:
    with suppress(PmbError):
        surgery.check_places(kinds, kept)
        return True
    return False


def previews(folder: Path) -> None:
    """Read what two cuts hold before training."""
    model = surgery.load_classifier(folder, TASK.labels)
    data = batches.encode(surgery.load_tokenizer(folder), examples(), preview.MAX_LENGTH)
    list(preview.score_cuts(model, "accuracy", data, SENTENCES // 2, [(0,), (0, 1)], CPU))


def _works(look: Any) -> bool:
    """Whether it gives something; a sentence of the lab's says that it does not."""
    try:
        look()
    except PmbError:
        return False
    return True


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def lines(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """The section."""
    counts = Counter(one.state for one in outcomes)
    cut = [one for one in outcomes if one.state == "cut"]
    yield (
        f"`python -m benchmarks.encoders --write`: {len(outcomes)} classes with a classifier of sentences. "
        f"{counts['cut']} are cut, fine-tuned and exported, {sum(one.previewed for one in cut)} of them previewed and "
        f"{sum(one.measured for one in cut)} measured layer by layer; {counts['refused']} are refused before training, "
        f"in one sentence; {counts['fault']} break off."
    )
    yield ""
    yield f"Cut: {', '.join(_named(one) for one in cut)}."
    yield ""
    yield "| refused | why |"
    yield "| --- | --- |"
    by_reason: dict[str, list[str]] = {}
    for one in outcomes:
        if one.state != "cut":
            by_reason.setdefault(_reason(one), []).append(one.name)
    for reason, names in sorted(by_reason.items(), key=lambda item: -len(item[1])):
        yield f"| {', '.join(names)} | {reason} |"


def _named(one: Outcome) -> str:
    lacks = [word for word, there in (("preview", one.previewed), ("contribution", one.measured)) if not there]
    return f"{one.name} (without {' and '.join(lacks)})" if lacks else one.name


def _reason(one: Outcome) -> str:
    """The sentence without the name of the class, in one cell of a table."""
    words = one.words.partition(" cannot be ")
    found = f"cannot be {words[2]}" if one.state == "refused" and words[1] else one.words
    return f"{'' if one.state == 'refused' else f'{one.state}: '}{found}".replace("|", "\\|")


@click.command()
@click.option("--only", default="", help="Classes by their model_type, separated by commas.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where outcomes are kept and taken up again.")
@click.option("--write", is_flag=True, help="Put the table into benchmarks/RESULTS.md.")
def main(only: str, folder: Path | None, write: bool) -> None:
    """Try every class."""
    run.quieten()
    names = only.split(",") if only else list(MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES)
    outcomes = []
    for name in names:
        kept = folder / f"{name}.json" if folder else None
        if kept and kept.is_file():
            outcomes.append(Outcome(**json.loads(kept.read_text(encoding="utf-8"))))
            continue
        with tempfile.TemporaryDirectory() as scratch:
            outcomes.append(tried(name, Path(scratch)))
        one = outcomes[-1]
        click.echo(f"{one.name}: {one.state} {one.words} ({one.seconds:.1f} s)")
        if kept:
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(asdict(one)), encoding="utf-8")
    publish("Every encoder class of transformers", lines(outcomes), write)


if __name__ == "__main__":
    main()
