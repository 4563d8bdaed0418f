"""Going on from a saved epoch: to the last digit as if nothing had happened, or from the beginning."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pmb.engine import checkpoints
from pmb.engine.checkpoints import Checkpoint, Generators, Keeper, Stand, threads_of
from pmb.engine.finetune import Training, fine_tune
from pmb.spec import Progress, Recipe
from tests.conftest import fill
from tests.test_finetune import CPU, RECIPE, sentences
from tests.test_surgery import small_bert

IDENTITY = {"key": "a run", "versions": {"torch": "2"}, "threads": 2}
STEPS_AN_EPOCH = 8


class Killed(Exception):
    """Stands for a kill in the middle of an epoch."""


def killed_at(step: int) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        if progress.step == step:
            raise Killed

    return report


def trained(
    folder: Path | None, recipe: Recipe = RECIPE, report: Callable[[Progress], None] = lambda _: None
) -> tuple[dict[str, torch.Tensor], Training]:
    """A small model fine-tuned in what could be a fresh process."""
    torch.manual_seed(5)
    model = small_bert()
    checkpoint = Checkpoint(folder, IDENTITY, 0.0) if folder else None
    training = fine_tune(model, sentences(), recipe, 0, CPU, report, checkpoint)
    return {name: p.detach().clone() for name, p in model.named_parameters()}, training


def keeper(folder: Path, identity: Mapping[str, Any] = IDENTITY, least_seconds: float = 0.0) -> Keeper:
    """A keeper of a small model that is not trained."""
    model = small_bert()
    generators = Generators(random.Random(0), np.random.SFC64(0), CPU)
    return Keeper(Checkpoint(folder, identity, least_seconds), model, torch.optim.AdamW(model.parameters()), generators)


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


# With dropout masks are drawn; with weight decay the whole vocabulary is trained.
@pytest.mark.parametrize("more", [{"dropout": 0.1}, {"dropout": 0.0, "weight_decay": 0.1}], ids=str)
def test_a_run_that_goes_on_ends_with_the_weights_of_an_undisturbed_one(tmp_path: Path, more: dict[str, float]) -> None:
    recipe = replace(RECIPE, epochs=3, **more)  # type: ignore[arg-type]
    weights, training = trained(None, recipe)
    with pytest.raises(Killed):
        trained(tmp_path, recipe, killed_at(STEPS_AN_EPOCH + 3))
    seen: list[int] = []
    again, resumed = trained(tmp_path, recipe, lambda progress: seen.append(progress.step))
    assert seen == list(range(STEPS_AN_EPOCH + 1, 3 * STEPS_AN_EPOCH + 1))
    assert equal(weights, again)
    assert resumed.losses == training.losses
    assert resumed.seconds > resumed.earlier_seconds > 0
    seen.clear()
    at_once, _ = trained(tmp_path, recipe, lambda progress: seen.append(progress.step))
    assert seen == []  # the last epoch was saved too: evaluating may take long
    assert equal(weights, at_once)


def _cut_short(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def _change_a_weight(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)


def _empty(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("damage", [_cut_short, _change_a_weight, _empty])
def test_a_broken_checkpoint_is_left_alone_and_the_log_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None]
) -> None:
    keeper(tmp_path).save(Stand((0.5,), 3.0))
    assert keeper(tmp_path).restore() == Stand((0.5,), 3.0)
    damage(tmp_path / "cut.safetensors")
    assert keeper(tmp_path).restore() == Stand()
    assert "The checkpoint cut.safetensors is left alone" in capsys.readouterr().err


@pytest.mark.parametrize("foreign", [{"key": "another"}, {"versions": {"torch": "3"}}, {"threads": 1}], ids=str)
def test_a_foreign_checkpoint_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], foreign: dict[str, Any]
) -> None:
    keeper(tmp_path, IDENTITY | foreign).save(Stand((0.5,), 3.0))
    assert keeper(tmp_path).restore() == Stand()
    assert "another run, version, device or number of threads" in capsys.readouterr().err


def test_the_threads_of_an_earlier_attempt_are_known_where_all_else_is_equal(tmp_path: Path) -> None:
    keeper(tmp_path).save(Stand((0.5,), 3.0))
    assert threads_of(tmp_path, IDENTITY | {"threads": 1}) == 2
    assert threads_of(tmp_path, IDENTITY | {"key": "another"}) is None
    assert threads_of(tmp_path / "nothing", IDENTITY) is None


def test_quick_epochs_are_not_saved_and_a_slow_disk_is_written_to_rarely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(checkpoints, "monotonic", lambda: now)

    def slow_save(tensors: object, path: Path, metadata: object) -> None:
        nonlocal now
        path.touch()
        now += 10

    monkeypatch.setattr(checkpoints, "save_file", slow_save)
    kept, saved_at = keeper(tmp_path, least_seconds=20.0), []
    for second in range(1, 500):
        now = max(now, float(second))
        before = now
        kept.save(Stand((0.5,) * second, now))
        if now != before:
            saved_at.append(before)
    assert saved_at == [20.0, 230.0, 440.0]  # ten seconds of writing in two hundred


def test_a_full_disk_while_saving_fails_no_run(tiny_disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tiny_disk)
    keeper(tiny_disk / "checkpoints").save(Stand((0.5,), 3.0))
    assert "No checkpoint of epoch 1: " in capsys.readouterr().err
    assert list((tiny_disk / "checkpoints").iterdir()) == []
