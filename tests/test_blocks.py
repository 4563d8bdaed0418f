"""What block influence and angular choose by: measured on models of every form, remembered, used by command."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from pmb.engine import similarity
from pmb.engine.batches import batch_of
from pmb.engine.forward import model_inputs
from pmb.lab import plan
from pmb.lab.plan import identity_of_scores
from pmb.lab.store import Store, get_block_scores, save_block_scores
from pmb.settings import Settings
from pmb.strategies import kept_layers
from tests.architectures import ARCHITECTURES, DEPTH
from tests.test_cli import pmb
from tests.test_previews import MODEL, SCORES, TASK, save
from tests.test_probe import CPU, one_thread, sentences

__all__ = ["one_thread"]  # for every test here
ANGULAR = [[0.5, 0.1, 0.4, 0.4, 0.4, 0.4], [0.5, 0.4, 0.4, 0.4, 0.2], [0.3] * 4, [0.3] * 3, [0.3] * 2]


@torch.inference_mode()
@pytest.mark.parametrize("name", ["bert", "xlnet"])
def test_blocks_are_measured_sentence_by_sentence(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    architecture = next(a for a in ARCHITECTURES if a.name == name)
    model, data = architecture.build().base_model, sentences(architecture, 40)
    monkeypatch.setattr(similarity, "load_encoder", lambda folder: model)
    monkeypatch.setattr(similarity, "load_tokenizer", lambda folder: None)
    monkeypatch.setattr(similarity, "encode", lambda *_: data)
    influence, angular = similarity.block_measures(tmp_path, [], CPU)
    contribution = similarity.layer_similarity(tmp_path, [], CPU)
    token, cosines, angles = -1 if data.pad_left else 0, [], []
    for row in range(len(data)):
        encoder: Any = model
        batch = batch_of(data, [row], CPU)
        states = encoder(**model_inputs(encoder, batch), output_hidden_states=True).hidden_states
        cosines += list(
            zip(
                *(functional.cosine_similarity(a[0], b[0], dim=-1).tolist() for a, b in itertools.pairwise(states)),
                strict=True,
            )
        )
        turned = functional.cosine_similarity(states[1][0, token], states[3][0, token], dim=0)
        angles.append(math.acos(float(turned)) / math.pi)
    assert influence == pytest.approx([sum(layer) / len(cosines) for layer in zip(*cosines, strict=True)], abs=1e-5)
    assert [len(distances) for distances in angular] == [4, 3, 2]
    assert angular[1][1] == pytest.approx(sum(angles) / len(angles), abs=1e-5)
    assert len(contribution) == DEPTH
    for strategy, scores in (("block-influence", influence), ("angular", angular)):
        assert len(kept_layers(strategy, DEPTH, 2, scores)) == 2


@pytest.mark.both_databases
def test_scores_are_measured_once_and_chosen_by(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def measured(settings: Settings, model: Any, task: Any, kind: str, sentences: int, report: Any) -> dict[str, Any]:
        asked.append(kind)
        return {"block-influence": [0.2, 0.9, 0.8, 0.7, 0.6, 0.3], "angular": ANGULAR}

    monkeypatch.setattr(plan, "_asked", measured)
    for strategy, kept in (("angular", (0, 1, 2, 3)), ("block-influence", (0, 3, 4, 5)), ("angular", (0, 1, 2, 3))):
        assert plan.plan_strategy(store, settings, MODEL, TASK, strategy, 2).kept_layers == kept
    assert asked == ["blocks"]
    assert get_block_scores(store, identity_of_scores(MODEL, TASK), MODEL.num_hidden_layers)["angular"] == ANGULAR


def test_by_command_a_cut_and_a_preview_go_by_them(scored: Store, settings: Settings) -> None:
    save_block_scores(scored, identity_of_scores(MODEL, TASK), {"block-influence": list(SCORES), "angular": ANGULAR})
    said = json.loads(pmb(settings, "plan", "--strategy", "angular", "--drop", "1", "--json").stdout)
    assert said["kept_layers"] == [0, 2, 3, 4, 5]
    assert said["strategy"] == ["contribution", "block-influence", "angular"]
    cuts = [kept_layers("angular", 6, count, ANGULAR) for count in range(6)]
    save(scored, dict.fromkeys(cuts, 0.6))
    values = json.loads(pmb(settings, "preview", "--strategy", "angular", "--json").stdout)
    assert values["cached"] is True
    assert [tuple(row["kept_layers"]) for row in values["cuts"]] == cuts
    assert {row["strategy"] for row in values["cuts"]} == {"angular"}
