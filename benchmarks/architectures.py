"""How fast is a fine-tuning of each architecture of the catalog, beside Trainer at its best?

Run: python -m benchmarks.architectures [--pairs 5] [--write]   (with nothing else running; about an hour)
     python -m benchmarks.architectures --only mpnet,xlnet --pairs 1 --sentences 64   (a quick look)
Each model has the true width, heads and vocabulary of the base model, random weights and few layers. Both sides take
the same sentences of the embedded task, one epoch, batch 32, and the same seed, schedule and dropout. A pair is Trainer
and the lab one after the other, each in a process of its own; a ratio is the median over the pairs.
Every measurement is appended to benchmarks/architectures.jsonl at once. A command that was stopped goes on where it
was; --again measures everything anew.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from benchmarks import trainer
from benchmarks.embedded import TASK, open_embedded
from benchmarks.finetune import native_bf16, recipe_of
from benchmarks.results import machine_line, publish
from pmb.engine import batches, finetune
from pmb.engine.device import pick_device
from pmb.lab.executors import CHILD_ENVIRONMENT

MEASURED = Path(__file__).parent / "architectures.jsonl"
SIDES = ("trainer", "lab")
DROPOUT = 0.1

# What differs from the defaults of the architecture's config, which are of its base model.
SETTINGS: dict[str, dict[str, Any]] = {
    "bert": {},
    "roberta": {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1},
    "electra": {"embedding_size": 768, "hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072},
    "distilbert": {},
    "mpnet": {"max_position_embeddings": 514},
    "albert": {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072},
    "xlnet": {"d_model": 768, "n_head": 12, "d_inner": 3072, "pad_token_id": 5},
    "deberta-v2": {
        "hidden_size": 768,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "type_vocab_size": 0,
        "relative_attention": True,
        "position_buckets": 256,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
        "pooler_hidden_size": 768,
        "vocab_size": 128100,
    },
    "modernbert": {"pad_token_id": 0},
}


@dataclass(frozen=True, slots=True)
class Setting:
    """What is trained: of which architecture, with how many layers, on how many sentences."""

    architecture: str
    layers: int
    sentences: int


@dataclass(frozen=True, slots=True)
class Measurement:
    """One side of one pair."""

    setting: Setting
    machine: str
    pair: int
    side: str
    seconds: float
    fast: bool | None  # whether the lab took its quick way

    @property
    def key(self) -> tuple[Setting, str, int, str]:
        """What it is a measurement of."""
        return self.setting, self.machine, self.pair, self.side


def build(setting: Setting, **options: Any) -> PreTrainedModel:
    """The model, with random weights that depend on torch's generator; `options` are those of `from_config`."""
    made: dict[str, Any] = SETTINGS[setting.architecture] | {"num_labels": 2, "num_hidden_layers": setting.layers}
    config = CONFIG_MAPPING[setting.architecture](**made)
    model: PreTrainedModel = AutoModelForSequenceClassification.from_config(config, **options)
    return model


def measure(setting: Setting, side: str, pair: int) -> tuple[float, bool | None]:
    """Train once in this process; returns the seconds, and whether the lab took its quick way."""
    found = open_embedded()
    torch.manual_seed(pair)
    # Trainer's best on a CPU: torch's own attention takes a tenth longer there for sentences of this length.
    eager = side == "trainer" and pick_device().type == "cpu"
    model = build(setting, **({"attn_implementation": "eager"} if eager else {}))
    tokenizer, pad = found.tokenizer, model.config.pad_token_id
    # The embedded tokenizer's tokens for all, so that batches are the same; in a smaller vocabulary the last one often.
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(pad)
    tokenizer.padding_side = "left" if setting.architecture == "xlnet" else "right"
    train = batches.encode(tokenizer, found.sentences.train[: setting.sentences], 128)
    largest = model.config.vocab_size - 1
    train = replace(train, token_ids=tuple(tuple(min(token, largest) for token in row) for row in train.token_ids))
    recipe = recipe_of(setting.sentences, DROPOUT)
    if side == "lab":
        training = finetune.fine_tune(model, train, recipe, pair, pick_device(), lambda _: None)
        return training.seconds, training.fast
    trainer.set_dropout(model, DROPOUT)
    best: dict[str, Any] = {"group_by_length": True, "bf16": native_bf16()}
    return trainer.train_with_trainer(model, tokenizer, train, recipe, pair, **best), None


def read_measured() -> list[Measurement]:
    """What has been measured so far."""
    if not MEASURED.exists():
        return []
    rows = map(json.loads, MEASURED.read_text(encoding="utf-8").splitlines())
    return [Measurement(**row | {"setting": Setting(**row["setting"])}) for row in rows]


def measure_missing(settings: Sequence[Setting], pairs: int) -> list[Measurement]:
    """Measure what is missing, each side in a process of its own, and return all measurements of the settings."""
    machine = machine_line().rpartition(".")[0].rpartition(".")[0]  # without the date
    done = {one.key: one for one in read_measured()}
    wanted = [(setting, machine, pair, side) for pair in range(pairs) for setting in settings for side in SIDES]
    for setting, _, pair, side in [key for key in wanted if key not in done]:
        command = [sys.executable, "-m", "benchmarks.architectures", "--side", side, "--seed", str(pair)]
        command += ["--only", setting.architecture, "--layers", str(setting.layers)]
        command += ["--sentences", str(setting.sentences)]
        environment = os.environ | (CHILD_ENVIRONMENT if side == "lab" else {})  # the lab's own children have it
        ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if ended.returncode:
            raise click.ClickException(f"{setting.architecture}, {side}:\n{ended.stderr}")
        seconds, fast = json.loads(ended.stdout.splitlines()[-1])
        one = Measurement(setting, machine, pair, side, seconds, fast)
        done[one.key] = one
        with MEASURED.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(one)) + "\n")
        click.echo(f"pair {pair + 1} of {pairs}, {setting.architecture}, {side}: {seconds:.2f} s", err=True)
    return [done[key] for key in wanted]


def table(measured: Sequence[Measurement]) -> list[str]:
    """A line for each architecture, the best ratio first."""
    rows: list[tuple[float, str]] = []
    for setting in dict.fromkeys(one.setting for one in measured):
        seconds = {side: [m.seconds for m in measured if (m.setting, m.side) == (setting, side)] for side in SIDES}
        ratios = [theirs / ours for theirs, ours in zip(seconds["trainer"], seconds["lab"], strict=True)]
        fast = all(m.fast for m in measured if m.setting == setting and m.side == "lab")
        ratio = statistics.median(ratios)
        medians = {side: f"{statistics.median(values):.1f}" for side, values in seconds.items()}
        rows.append(
            (
                ratio,
                f"| {setting.architecture} | {'quick' if fast else 'plain'} | {medians['lab']} | {medians['trainer']} "
                f"| **{ratio:.2f}** ({min(ratios):.2f} to {max(ratios):.2f}) |",
            )
        )
    header = ["| architecture | way | seconds, lab | seconds, Trainer | times as fast (least to most) |"]
    return [*header, "| --- | --- | --- | --- | --- |", *(line for _, line in sorted(rows, reverse=True))]


@click.command()
@click.option("--pairs", type=click.IntRange(1), default=5, show_default=True)
@click.option("--sentences", type=click.IntRange(1), default=480, show_default=True)
@click.option("--layers", type=click.IntRange(1), default=3, show_default=True)
@click.option("--only", default=",".join(SETTINGS), help="Names of architectures, with commas; all by default.")
@click.option("--again", is_flag=True, help="Forget what has been measured.")
@click.option("--write", is_flag=True, help="Put the table into benchmarks/RESULTS.md.")
@click.option("--side", type=click.Choice(SIDES), hidden=True, help="Measure this side once, in this process.")
@click.option("--seed", type=int, default=0, hidden=True)
def main(
    pairs: int, sentences: int, layers: int, only: str, again: bool, write: bool, side: str | None, seed: int
) -> None:
    """Compare the sides for each architecture and print a table."""
    names = only.split(",")
    if unknown := [name for name in names if name not in SETTINGS]:
        raise click.UsageError(f"There is no architecture {unknown[0]!r} here; there are {', '.join(SETTINGS)}.")
    settings = [Setting(name, layers, sentences) for name in names]
    if side:
        click.echo(json.dumps(measure(settings[0], side, seed)))
        return
    if again:
        MEASURED.unlink(missing_ok=True)
    lines = [
        f"`python -m benchmarks.architectures --pairs {pairs} --sentences {sentences} --layers {layers} --write`: base "
        f"models of {layers} layers with random weights; {sentences:,} sentences of {TASK}, one epoch, batch 32, "
        f"dropout {DROPOUT:g}. Trainer at its best: grouped by length, padded to the batch, fused AdamW, the faster "
        "attention, "
        f"{'bf16' if native_bf16() else 'float32 (this CPU has no bf16 products)'}.",
        "",
        *table(measure_missing(settings, pairs)),
    ]
    publish("Architectures", lines, write)


if __name__ == "__main__":
    main()
