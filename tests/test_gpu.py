"""On a real GPU: what a run computes there, what it does when others hold its memory, and its share of a Ray node."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from pmb import machine
from pmb.catalog.models import find_model
from pmb.catalog.recipes import RECIPES
from pmb.catalog.tasks import find_task
from pmb.doctor import examine
from pmb.engine import finetune
from pmb.engine import run as engine
from pmb.engine.batches import Batch, Encoded, batch_of
from pmb.engine.checkpoints import Checkpoint
from pmb.engine.device import claim_device, leave_default_stream, needed_bytes
from pmb.engine.dropout import set_dropout
from pmb.engine.finetune import fine_tune, predict
from pmb.engine.forward import fast_forward, plain_forward
from pmb.engine.graphs import TOKENS, Repeated, Shape, repeated
from pmb.engine.preview import score_cuts
from pmb.engine.shortage import shortage
from pmb.lab import queue, worker
from pmb.lab.executors import ask
from pmb.lab.store import Store, list_runs
from pmb.settings import Settings
from pmb.spec import Progress, RunResult
from tests.architectures import ARCHITECTURES, Architecture
from tests.conftest import spec
from tests.test_checkpoints import IDENTITY, STEPS_AN_EPOCH, Killed, killed_at
from tests.test_finetune import RECIPE, sentences
from tests.test_probe import sentences as words
from tests.test_surgery import small_bert
from tests.test_worker import ROWS, until

pytestmark = pytest.mark.skipif(torch.cuda.device_count() != 1, reason="torch sees no GPU here, or several")

CPU, GPU = torch.device("cpu"), torch.device("cuda")
MODEL, TASK = find_model("minilm-l6"), find_task("rotten-tomatoes")
QUICK = RECIPES["quick"]
GB = 10**9
HOG = """
import sys, torch
leave = int(sys.argv[1])
held = []
size = torch.cuda.mem_get_info()[0] - leave
while size > 2**20:
    try:
        held.append(torch.empty(size, dtype=torch.uint8, device="cuda"))
        size = torch.cuda.mem_get_info()[0] - leave
    except torch.OutOfMemoryError:
        size //= 2
print(torch.cuda.mem_get_info()[0], flush=True)
sys.stdin.read()
"""


@contextmanager
def held_by_another(leave_bytes: int) -> Iterator[subprocess.Popen[str]]:
    """Another process holds the GPU's memory but for so much."""
    gc.collect()
    torch.cuda.empty_cache()
    command = [sys.executable, "-c", HOG, str(leave_bytes)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert int(process.stdout.readline()) < leave_bytes + 2**26
        yield process
        process.stdin.close()


def run_on(device: torch.device, assets_folder: Path, monkeypatch: pytest.MonkeyPatch) -> RunResult:
    """The top three layers dropped, quickly."""
    with monkeypatch.context() as patch:
        if device.type == "cpu":
            patch.setattr(engine, "claim_device", lambda need: (device, ""))
        return engine.run(spec((0, 1, 2), recipe=QUICK), MODEL, TASK, assets_folder, lambda progress: None)


@pytest.mark.slow
def test_a_run_on_a_gpu_says_so_and_scores_as_on_a_cpu(assets_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = (run_on(device, assets_folder, monkeypatch) for device in (GPU, CPU))
    assert here.device == torch.cuda.get_device_name()
    assert here.fast
    assert "since the GPU was full" not in here.machine
    assert here.score == pytest.approx(there.score, abs=0.03)
    same = sum(a == b for a, b in zip(here.predictions, there.predictions, strict=True)) / len(there.predictions)
    assert same > 0.85
    assert here.peak_megabytes is not None
    assert here.peak_megabytes * 10**6 < needed_bytes(small_bert(), QUICK) + 16 * here.parameters + 2 * GB


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.name)
def test_every_architecture_learns_and_is_previewed_on_a_gpu_as_on_a_cpu(
    architecture: Architecture, capsys: pytest.CaptureFixture[str]
) -> None:
    data, losses, logits = words(architecture, 32), [], []
    recipe = replace(RECIPE, epochs=3, dropout=0.0)
    for device in (CPU, GPU):
        model = architecture.build().to(device)  # type: ignore[arg-type]
        losses.append(fine_tune(model, data, recipe, 0, device, lambda _: None).losses)
        with torch.inference_mode():
            logits.append(plain_forward(model)(batch_of(data, range(8), device)).cpu())
        assert len(predict(model, data, device)) == len(data)
    assert "not repeated" not in capsys.readouterr().err
    assert losses[0] == pytest.approx(losses[1], rel=0.05, abs=0.05)
    assert torch.allclose(logits[0], logits[1], atol=0.1)
    cuts = [(0,), (0, 2)]
    scores = [
        dict(score_cuts(architecture.build().to(device), "accuracy", data, 20, cuts, device))  # type: ignore[arg-type]
        for device in (CPU, GPU)
    ]
    assert scores[0].keys() == scores[1].keys()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_quick_way_gives_the_logits_and_gradients_of_the_plain_one(dtype: torch.dtype) -> None:
    data = sentences()
    model = small_bert().to(GPU)  # type: ignore[arg-type]
    set_dropout(model, 0.0, 0)
    batch = batch_of(data, range(16), GPU)
    assert batch.is_padded
    found = []
    for forward in (plain_forward(model), fast_forward(model, dtype)):
        assert forward is not None
        model.zero_grad()
        logits = forward(batch).float()
        functional.cross_entropy(logits, batch.labels).backward()
        found.append((logits, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}))
    (plain, plain_gradients), (quick, quick_gradients) = found
    close = 1e-4 if dtype == torch.float32 else 2e-2
    assert torch.allclose(plain, quick, atol=close)
    assert plain_gradients.keys() == quick_gradients.keys()
    largest = max(gradient.abs().max() for gradient in plain_gradients.values())
    for name, gradient in plain_gradients.items():
        assert torch.allclose(gradient, quick_gradients[name], atol=float(close * largest)), name


PLAIN = sentences()
TYPED = replace(PLAIN, token_type_ids=tuple(tuple(int(j > 2) for j in range(len(ids))) for ids in PLAIN.token_ids))
NUMBERS = replace(PLAIN, labels=tuple(0.5 * label for label in PLAIN.labels))


@pytest.mark.parametrize(
    ("data", "dropout"),
    [(PLAIN, 0.0), (PLAIN, 0.1), (sentences(61), 0.1), (TYPED, 0.1), (NUMBERS, 0.1)],
    ids=["no dropout", "dropout", "a smaller last batch", "token types", "regression"],
)
def test_steps_repeated_as_graphs_train_as_those_launched_one_by_one(
    data: Encoded, dropout: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(RECIPE, epochs=4, dropout=dropout, learning_rate=1e-3)
    graphs: list[Shape] = []

    class Counted(Repeated):
        def _record(self, shape: Shape, batch: Batch) -> None:
            graphs.append(shape)
            super()._record(shape, batch)

    def trained(repeat: bool) -> tuple[tuple[float, ...], Tensor]:
        torch.manual_seed(5)
        model = small_bert(num_labels=1 if data is NUMBERS else 3).to(GPU)  # type: ignore[arg-type]
        with monkeypatch.context() as patch:
            # Launched one by one, but with the same shapes: the masks that dropout draws depend on them.
            again = Counted if repeat else lambda step: step
            patch.setattr(finetune, "repeated", lambda step, *_: (again(step), (8, 9)))
            losses = fine_tune(model, data, recipe, 0, GPU, lambda _: None).losses
        return losses, model.classifier.weight.detach().clone()

    one_by_one, weights = trained(repeat=False)
    assert not graphs
    losses, repeated_weights = trained(repeat=True)
    assert len(graphs) == len(set(graphs)) > 1
    assert losses == pytest.approx(one_by_one, rel=1e-3)
    assert torch.allclose(weights, repeated_weights, atol=1e-3)


def test_a_step_that_waits_for_a_number_is_not_repeated_and_trains_on(capsys: pytest.CaptureFixture[str]) -> None:
    weight = torch.zeros(1, device=GPU)
    drawn: list[float] = []

    def step(batch: Batch) -> Tensor:
        drawn.append(float(torch.rand(1, device=GPU)))  # a graph cannot wait for it
        return weight.add_(1).clone()

    data = sentences(16)
    leave_default_stream()
    again = Repeated(step)
    losses = [float(again(batch_of(data, range(8), GPU))) for _ in range(4)]
    assert losses == [1.0, 2.0, 3.0, 4.0]
    assert len(set(drawn)) == 4
    assert "Training steps are not repeated as CUDA graphs: " in capsys.readouterr().err


def test_graphs_are_used_only_where_as_much_memory_again_is_free() -> None:
    def step(batch: Batch) -> Tensor:
        return torch.zeros(())

    data = sentences()  # of up to 9 tokens
    assert repeated(step, CPU, 0, data) == (step, ())
    assert repeated(step, GPU, 10**15, data) == (step, (TOKENS, 9))
    found, widths = repeated(step, GPU, GB, data)
    assert isinstance(found, Repeated)
    assert widths == (TOKENS, 9)


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    model = small_bert().to(GPU)  # type: ignore[arg-type]
    set_dropout(model, 0.25, 0)
    drop = next(module for name, module in model.named_modules() if name.endswith("attention.self.dropout"))
    drop.train()
    kept = drop.mask(torch.ones(1000, 1000, device=GPU))
    assert float(kept.float().mean()) == pytest.approx(0.75, abs=0.005)
    assert drop.scale == pytest.approx(1 / 0.75, rel=1e-3)


def test_a_fine_tuning_that_goes_on_on_a_gpu_draws_what_an_undisturbed_one_draws(tmp_path: Path) -> None:
    recipe = replace(RECIPE, epochs=3, dropout=0.1)

    def trained(folder: Path | None, report: Any = lambda _: None) -> tuple[float, ...]:
        torch.manual_seed(5)
        model = small_bert().to(GPU)  # type: ignore[arg-type]
        checkpoint = Checkpoint(folder, IDENTITY, 0.0) if folder else None
        return fine_tune(model, sentences(), recipe, 0, GPU, report, checkpoint).losses

    undisturbed = trained(None)
    with pytest.raises(Killed):
        trained(tmp_path, killed_at(STEPS_AN_EPOCH + 3))
    seen: list[int] = []
    again = trained(tmp_path, lambda progress: seen.append(progress.step))
    assert seen == list(range(STEPS_AN_EPOCH + 1, 3 * STEPS_AN_EPOCH + 1))
    assert again == pytest.approx(undisturbed, rel=1e-3)  # additions there have no fixed order


def test_the_driver_and_doctor_name_who_holds_the_gpu() -> None:
    with held_by_another(2 * GB) as process:
        (gpu,) = machine.gpus()
        assert gpu.name == torch.cuda.get_device_name()
        assert gpu.free_bytes < 3 * GB
        holder = next(holder for holder in gpu.holders if holder.pid == process.pid)
        assert holder.user
        assert holder.held_bytes is None or holder.held_bytes > gpu.total_bytes / 2
        (line,) = [finding.text for finding in examine() if finding.what == "gpu"]
        assert f"(process {process.pid})" in line


def test_a_gpu_that_another_process_holds_is_left_to_it() -> None:
    with held_by_another(2 * GB) as process:
        claimed, why = claim_device(4 * GB)
    assert claimed == CPU
    assert "GB of the GPU's memory are free and about 4.0 needed; held by " in why
    assert f"process {process.pid}" in why
    assert claim_device(4 * GB) == (GPU, "")
    assert torch.cuda.memory_reserved() >= 4 * GB  # nobody else can take it


@pytest.mark.slow
@pytest.mark.parametrize("leave_bytes", [GB, 0], ids=["little is free", "nothing is free"])
def test_a_run_beside_a_process_that_holds_the_gpu_ends_on_the_cpu_and_says_so(
    home_with_assets: Settings, leave_bytes: int
) -> None:
    told: list[Progress] = []
    recipe = replace(QUICK, train_sentences=64, epochs=1)
    job: dict[str, Any] = {"kind": "run", "spec": spec((0,), recipe=recipe).to_dict(), "threads": 2}
    job |= {"assets": str(home_with_assets.assets), "alone": True, "timed_devices": []}
    preview: dict[str, Any] = {"kind": "blocks", "sentences": 50, "assets": str(home_with_assets.assets)}
    timing: dict[str, Any] = {"kind": "latency", "depths": [3], "device": torch.cuda.get_device_name()}
    timing |= {"assets": str(home_with_assets.assets)}
    with held_by_another(leave_bytes) as process:
        answer = ask(job | ROWS, told.append)
        scores = ask(preview | ROWS)["scores"]
        timed = ask(timing | ROWS)["latencies"]
    result = answer["result"]
    assert result["device"] != torch.cuda.get_device_name()
    assert result["machine"].endswith("since the GPU was full")
    assert any(progress.note.startswith("on the CPU: ") for progress in told)
    if leave_bytes:
        assert any(f"process {process.pid}" in progress.note for progress in told)
    assert scores["block-influence"]
    assert timed == []  # the depth waits for the GPU


def test_memory_that_runs_out_in_the_middle_is_said_in_words(
    assets_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "claim_device", lambda need: (GPU, ""))  # as if somebody took it a moment later
    recipe = replace(QUICK, batch_size=64)
    with held_by_another(GB // 4), pytest.raises(RuntimeError) as raised:
        engine.run(spec((0, 1, 2), recipe=recipe), MODEL, TASK, assets_folder, lambda progress: None)
    said = shortage(raised.value, recipe)
    assert said is not None
    assert said.startswith("The GPU ran out of memory: this run held ")
    assert "lower the recipe's batch size (64) or length" in said


@pytest.mark.slow
def test_layers_are_measured_and_cuts_previewed_on_a_gpu(assets_folder: Path) -> None:
    told: list[Progress] = []
    found: dict[tuple[int, ...], str] = {}
    engine.preview_cuts(
        MODEL,
        TASK,
        ["top", "bottom"],
        [],
        None,
        set(),
        600,
        400,
        assets_folder,
        told.append,
        lambda kept, score, device: found.update({kept: device}),
    )
    assert len(found) >= 10
    assert set(found.values()) == {torch.cuda.get_device_name()}
    assert not any(progress.note for progress in told)
    assert len(engine.measure_similarity(MODEL, TASK, 100, assets_folder, told.append)) == 6
    assert engine.measure_greedy(MODEL, TASK, 100, assets_folder, told.append)["greedy"]
    (one, thirty_two) = sorted(
        engine.measure_latency(MODEL, TASK, [3], assets_folder, None), key=lambda found: found.batch
    )
    assert (one.batch, thirty_two.batch) == (1, 32)
    assert one.device == torch.cuda.get_device_name()
    assert 1.0 < one.ratio < 3.0
    probed = engine.probe_layers(spec(recipe=QUICK), MODEL, TASK, assets_folder, told.append)
    assert probed.device == torch.cuda.get_device_name()
    assert 0.6 < probed.score.value < 0.9


@pytest.mark.slow
def test_two_runs_share_a_gpu_of_a_ray_node(
    store: Store, home_with_assets: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(worker._Stopwatch, "time_depths", lambda *_: None)
    asked = [spec((0, 1, 2), seed, QUICK) for seed in range(4)]
    queue.submit(store, asked)
    shared = replace(home_with_assets, executor="ray", gpus_per_run=0.5)
    most = 0

    def all_done() -> bool:
        nonlocal most
        most = max(most, len(list_runs(store, "running")))
        return len(list_runs(store, "done")) == len(asked)

    stop = threading.Event()
    thread = threading.Thread(target=worker.work, args=(store, shared, stop))
    thread.start()
    try:
        until(all_done, 200)
        resources = ray.cluster_resources()
    finally:
        stop.set()
        thread.join()
    assert resources["GPU"] == torch.cuda.device_count()
    assert most == 2 * torch.cuda.device_count()
    assert {row["device"] for row in list_runs(store)} == {torch.cuda.get_device_name()}
    assert {row["attempts"] for row in list_runs(store)} == {1}
