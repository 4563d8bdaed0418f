"""What cutting brings at true size: BERT base (cased) and XLNet base with random weights, beside the published figures.

Run: python -m benchmarks.true_size [--pairs 5] [--write]   (with nothing else running; some minutes)
Cost and not accuracy: the weights are random, the tokens too, with the lengths of MRPC's pairs. A pair is the whole
model and each cut in turn; a ratio is the median over the pairs. Published: Sajjad et al. (2020), table of memory and
speed (parameters in millions, fine-tuning speed-up, inference time saved on QQP dev in batches of 32, TitanX).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import click
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PreTrainedModel,
    XLNetConfig,
    XLNetForSequenceClassification,
)

from benchmarks.finetune import recipe_of
from benchmarks.gpu import mrpc_like
from benchmarks.results import publish
from pmb.engine import finetune, surgery
from pmb.engine.device import pick_device
from pmb.engine.run import quieten

DROPS = (2, 4, 6)
SENTENCE_PAIRS = 64  # a measurement


@dataclass(frozen=True)
class Published:
    """The paper's figures for one drop count."""

    parameters: int  # millions
    speedup: float  # of fine-tuning
    saved: int | None  # per cent of inference time


@dataclass(frozen=True)
class Subject:
    """A model in its true size, and what was published about it."""

    name: str
    build: Callable[[], PreTrainedModel]
    published: dict[int, Published]


SUBJECTS = (
    Subject(
        "bert-base-cased",
        lambda: BertForSequenceClassification(BertConfig(vocab_size=28996)),
        {
            0: Published(110, 1.0, None),
            2: Published(94, 1.24, 17),
            4: Published(80, 1.48, 33),
            6: Published(66, 1.94, 50),
        },
    ),
    Subject(
        "xlnet-base-cased",
        lambda: XLNetForSequenceClassification(XLNetConfig(d_model=768, n_layer=12, n_head=12, d_inner=3072)),
        {
            0: Published(116, 1.0, None),
            2: Published(101, 1.2, 16),
            4: Published(86, 1.49, 32),
            6: Published(71, 1.96, 49),
        },
    ),
)


def measure(subject: Subject, drop: int) -> dict[str, float]:
    """Parameters (millions), seconds to fine-tune and seconds to score, of the model without its top layers."""
    torch.manual_seed(0)
    model = subject.build()
    model = surgery.on_device(surgery.cut(model, range(surgery.find_stack(model).depth - drop)), pick_device())
    data = replace(mrpc_like(SENTENCE_PAIRS), pad_left=subject.name.startswith("xlnet"))
    recipe = recipe_of(SENTENCE_PAIRS, 0.1)
    seconds = finetune.fine_tune(model, data, recipe, 0, pick_device(), lambda _: None).seconds
    start = time.perf_counter()
    finetune.predict(model, data, pick_device())
    scoring = time.perf_counter() - start
    return {"parameters": surgery.num_parameters(model) / 1e6, "training": seconds, "scoring": scoring}


@click.command()
@click.option("--pairs", type=click.IntRange(1), default=5, show_default=True)
@click.option("--write", is_flag=True, help="Put the table into benchmarks/RESULTS.md.")
def main(pairs: int, write: bool) -> None:
    """Measure both models and print a table."""
    quieten()
    lines = [
        "| model | dropped | parameters, M (published) | fine-tuning, times as fast (published) "
        "| inference time saved (published) |",
        "| --- | --- | --- | --- | --- |",
    ]
    for subject in SUBJECTS:
        found = [{drop: measure(subject, drop) for drop in (0, *DROPS)} for _ in range(pairs)]
        for drop, published in subject.published.items():
            faster = statistics.median(pair[0]["training"] / pair[drop]["training"] for pair in found)
            saved = 100 * statistics.median(1 - pair[drop]["scoring"] / pair[0]["scoring"] for pair in found)
            lines.append(
                f"| {subject.name} | {drop} | {found[0][drop]['parameters']:.1f} ({published.parameters}) | "
                f"{faster:.2f} ({published.speedup:.2f}) | "
                + (f"{saved:.0f} % ({published.saved} %) |" if published.saved else "|")
            )
            click.echo(lines[-1], err=True)
    command = (
        f"`python -m benchmarks.true_size --pairs {pairs} --write`: random weights, {SENTENCE_PAIRS} random sentence "
        "pairs with the lengths of MRPC's, batch 32, one epoch; scoring of the same. Published figures: Sajjad et al. "
        "(2020)."
    )
    publish("Cutting at true size", [command, "", *lines], write)


if __name__ == "__main__":
    main()
