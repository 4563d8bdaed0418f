"""What is read off the layers of a model: of every architecture, from data where the answer is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from pmb.catalog.tasks import Task
from pmb.engine import probe
from pmb.engine.batches import Encoded, batch_of
from pmb.engine.finetune import fine_tune, predict
from pmb.engine.forward import model_inputs
from pmb.engine.probe import fit_linear, probe_layers, read_layers, sentence_tokens
from pmb.engine.surgery import load_classifier
from pmb.scoring import score
from tests.architectures import ARCHITECTURES, DEPTH, Architecture
from tests.conftest import TINY

CPU = torch.device("cpu")
TASK = Task("made-up", "Made up", ("accuracy",), ("no", "yes"), "1", "none", "Of two words one tells the label.")
RECIPE = replace(TINY, learning_rate=1e-2, epochs=3)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other take longer than such small models."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def sentences(architecture: Architecture, count: int) -> Encoded:
    """Sentences of 4 to 8 tokens, of which one tells the label."""
    left = architecture.name == "xlnet"
    labels = tuple(i % 2 for i in range(count))
    inner = [(10 + label, *(30 + (7 * i + j) % 40 for j in range(1 + i % 5))) for i, label in enumerate(labels)]
    ids = tuple((*words, 3, 2) if left else (2, *words, 3) for words in inner)
    return Encoded(ids, labels, architecture.settings["pad_token_id"], pad_left=left)


@torch.inference_mode()
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.name)
def test_the_sentence_token_of_each_layer_is_that_of_the_sentence_alone(architecture: Architecture) -> None:
    model, data = architecture.build(), sentences(architecture, 40)
    rows = [39, 3, 17, 0, 8]
    tokens = sentence_tokens(model, data, rows, CPU)
    assert tokens.shape == (DEPTH + 1, len(rows), 16)
    encoder: Any = model.base_model
    for place, row in enumerate(rows):
        found = encoder(**model_inputs(encoder, batch_of(data, [row], CPU)), output_hidden_states=True)
        where = -1 if architecture.name == "xlnet" else 0
        for layer, state in enumerate(found.hidden_states):
            assert torch.allclose(tokens[layer, place], state[0, where], atol=1e-4), (layer, row)
        assert torch.allclose(tokens[-1, place], found.last_hidden_state[0, where], atol=1e-4)


@pytest.mark.parametrize(
    "architecture", [a for a in ARCHITECTURES if a.name in ("bert", "xlnet", "albert")], ids=lambda a: a.name
)
def test_the_probed_model_is_the_one_that_a_run_makes(architecture: Architecture, tmp_path: Path) -> None:
    architecture.build().save_pretrained(tmp_path)
    train, dev = sentences(architecture, 64), sentences(architecture, 30)
    phases: list[str] = []
    found = probe_layers(tmp_path, TASK, train, dev, RECIPE, 1, lambda progress: phases.append(progress.phase))
    torch.manual_seed(1)
    model = load_classifier(tmp_path, TASK.labels)
    fine_tune(model, train, RECIPE, 1, CPU, lambda progress: None)
    assert found.score == score("accuracy", dev.labels, predict(model, dev, CPU))
    assert len(found.similarity) == len(found.tuned) == len(found.pretrained) == DEPTH + 1
    assert all(-1 <= value <= 1 for value in found.similarity)
    assert found.similarity[-1] < 0.999
    assert found.tuned[0].value == found.pretrained[0].value == 0.5  # nothing of a sentence is in its first vector
    assert phases[0] == "reading the layers before training"
    assert phases[-2:] == ["reading the layers after training", "evaluating"]


def test_a_training_that_changes_nothing_leaves_every_layer_as_it_was(tmp_path: Path) -> None:
    bert = ARCHITECTURES[0]
    bert.build().save_pretrained(tmp_path)
    still = replace(RECIPE, learning_rate=0.0)
    data = sentences(bert, 24)
    found = probe_layers(tmp_path, TASK, data, data, still, 0, lambda progress: None)
    assert found.similarity == pytest.approx([1.0] * (DEPTH + 1), abs=1e-6)
    assert found.tuned == found.pretrained


def test_a_layer_in_which_the_label_stands_is_read_and_one_in_which_it_does_not_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bert = ARCHITECTURES[0]
    data = sentences(bert, 1200)
    rng = np.random.default_rng(0)
    noise = torch.tensor(rng.normal(size=(len(data), 8)), dtype=torch.float32)
    told = noise.clone()
    told[:, 3] = torch.tensor(data.labels) + 0.1 * noise[:, 3]

    def made_up(model: PreTrainedModel, data: Encoded, rows: Sequence[int], device: torch.device) -> torch.Tensor:
        constant = 1 + 1e-7 * noise
        return torch.stack([layer[list(rows)] for layer in (constant, noise, told)])

    monkeypatch.setattr(probe, "sentence_tokens", made_up)
    read: list[int] = []
    scores, tokens = read_layers(bert.build(), "accuracy", data, data, CPU, read.append)
    assert (scores[0].value, scores[2].value) == (0.5, 1.0)
    assert 0.5 <= scores[1].value < 0.6
    assert tokens.shape == (3, 1000, 8)
    assert read == [0, 500, 1000, 1200, 1700, 2200]


def test_numbers_are_read_by_a_regression() -> None:
    rng = np.random.default_rng(0)
    states = rng.normal(size=(400, 5)).astype(np.float32)
    labels = [float(value) for value in 3 * states[:, 2] - states[:, 4]]
    found = fit_linear(states, labels)(states)
    assert score("pearson", labels, found).value > 0.99


def test_several_labels_and_a_single_one_are_read() -> None:
    states = np.eye(3, dtype=np.float32).repeat(50, axis=0)
    labels = [0] * 50 + [1] * 50 + [2] * 50
    assert fit_linear(states, labels)(states) == labels
    assert fit_linear(states, [1] * 150)(states[:2]) == [1, 1]
