"""The worker with real child processes, the real model and real sentences: killed, cancelled, failing, resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from pmb.catalog.models import find_model
from pmb.catalog.recipes import RECIPES
from pmb.catalog.tasks import find_task
from pmb.engine.device import device_name, pick_device
from pmb.errors import RunFailed, WorkerBusy
from pmb.lab import queue, worker, zero_layers
from pmb.lab.child import AUTOGROUP, NICENESS, WAITED_FOR
from pmb.lab.executors import CHILD_COMMAND, Child, ChildDied, ask
from pmb.lab.holder import worker_is_here
from pmb.lab.plan import layer_scores, plan_strategy
from pmb.lab.results import memories_of
from pmb.lab.store import Store, get_run, list_latencies, save_latencies
from pmb.lab.worker import work
from pmb.settings import REPOSITORY, Settings, cores
from pmb.spec import Latency, Progress, RunSpec
from tests.conftest import TINY, spec

pytestmark = pytest.mark.slow

SHORT = replace(RECIPES["quick"], name="short", train_sentences=64, epochs=1)  # a moment; reading and dev take longer
LONG = replace(RECIPES["quick"], name="long", train_sentences=4000, epochs=5)
SPEC = spec(recipe=SHORT)
MODEL, TASK = find_model("minilm-l6"), find_task("rotten-tomatoes")
ROWS = {"model": asdict(MODEL), "task": asdict(TASK)}


@contextmanager
def worker_process(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "pmb", "worker"],
        cwd=REPOSITORY,
        env=os.environ | {"PMB_HOME": str(settings.home)},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def until(condition: Callable[[], Any], seconds: float = 90) -> Any:
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        if value := condition():
            return value
        time.sleep(0.1)
    pytest.fail(f"not within {seconds} s")


def row_of(store: Store, key: str) -> dict[str, Any]:
    row = get_run(store, key)
    assert row is not None
    return row


def in_phase(store: Store, key: str, phase: str) -> bool:
    progress = row_of(store, key)["progress"]
    return bool(progress) and progress["phase"] == phase


def training(store: Store, key: str) -> bool:
    return in_phase(store, key, "training")


def children(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def say_it_is_timed(store: Store, one: RunSpec) -> None:
    """So that no run takes the seconds of timing its depth."""
    here = device_name(pick_device())
    save_latencies(store, one, [Latency(len(one.kept_layers), 32, 32, here, 3.0, 2.9, 3.1, 9, 0.3, 0.1)])


def work_once(store: Store, settings: Settings) -> None:
    work(store, settings, threading.Event(), once=True)


@pytest.fixture(scope="module")
def undisturbed(assets_folder: Path) -> dict[str, Any]:
    """The result of the short run when nothing goes wrong."""
    job = {"kind": "run", "spec": SPEC.to_dict(), "assets": str(assets_folder), "threads": cores()}
    found: dict[str, Any] = ask(job | ROWS | {"alone": False, "timed_devices": []})["result"]
    assert found["parameters"] < found["whole_model_parameters"]
    return found


def test_a_run_ends_with_its_score_speed_and_circumstances(
    store: Store, home_with_assets: Settings, undisturbed: dict[str, Any]
) -> None:
    key = queue.submit(store, [SPEC])[0].key
    work_once(store, home_with_assets)
    row = row_of(store, key)
    assert row["state"] == "done", row["error"]
    assert (row["score"], row["predictions"]) == (undisturbed["score"], undisturbed["predictions"])
    assert len(row["predictions"]) == 6000
    assert row["parameters"] == 22_713_986 - 5 * 1_774_464
    assert row["versions"]["torch"].startswith("2.13")
    (memory,) = memories_of(store, [row])
    assert (memory["device"], memory["machine"]) == (row["device"], row["machine"])
    assert 100 < memory["idle_megabytes"] < memory["peak_megabytes"] < 4000
    times = {(r["batch"], r["length"]): r["ratio"] for r in list_latencies(store, row["model"], row["model_revision"])}
    assert set(times) == {(32, 32), (1, 32)}
    assert times[32, 32] > 2
    bag = zero_layers.known(store, TASK, SHORT, SPEC.seed)
    assert bag is not None
    assert (bag["num_train"], bag["num_dev"], bag["sample"]) == (64, len(row["predictions"]), "seed 0")


@pytest.mark.parametrize("phase", ["starting", "evaluating"])  # training: tests/test_faults.py
def test_kill_minus_nine_of_the_child_costs_time_and_nothing_else(
    store: Store, home_with_assets: Settings, undisturbed: dict[str, Any], phase: str
) -> None:
    say_it_is_timed(store, SPEC)
    key = queue.submit(store, [SPEC])[0].key
    with worker_process(home_with_assets) as process:
        until(lambda: in_phase(store, key, phase))
        for child in children(process):
            child.kill()
        until(lambda: row_of(store, key)["state"] == "done")
    row = row_of(store, key)
    assert (row["predictions"], row["attempts"]) == (undisturbed["predictions"], 2)


def test_kill_minus_nine_of_the_worker_loses_nothing_and_doubles_nothing(
    store: Store, home_with_assets: Settings, undisturbed: dict[str, Any]
) -> None:
    say_it_is_timed(store, SPEC)
    key = queue.submit(store, [SPEC])[0].key
    with worker_process(home_with_assets) as process:
        until(lambda: in_phase(store, key, "starting"))  # training: tests/test_faults.py
        orphans = children(process)
        process.kill()
        process.wait()
        until(lambda: not any(alive(orphan) for orphan in orphans), seconds=60)
    assert row_of(store, key)["state"] == "running"
    with worker_process(home_with_assets):
        until(lambda: row_of(store, key)["state"] == "done")
    row = row_of(store, key)
    assert (row["predictions"], row["attempts"]) == (undisturbed["predictions"], 2)


def test_runs_that_wait_together_run_at_a_time_and_their_depths_are_timed_first(
    store: Store, home_with_assets: Settings
) -> None:
    specs = [spec((0,), seed, SHORT) for seed in range(2)] + [spec((0, 1), 0, SHORT)]
    queue.submit(store, specs)
    together = 0
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(store, replace(home_with_assets, jobs=2), stop))
    thread.start()
    try:
        states = [""]
        while not set(states) <= set(queue.ENDED):
            states = [row_of(store, s.key)["state"] for s in specs]
            together = max(together, states.count("running"))
            if "running" in states:
                assert (
                    len(list_latencies(store, specs[0].model, specs[0].model_revision)) == 4
                )  # two depths, two shapes
            time.sleep(0.2)
    finally:
        stop.set()
        thread.join()
    rows = [row_of(store, s.key) for s in specs]
    assert [row["state"] for row in rows] == ["done"] * 3
    assert together == 2
    threads = max(1, cores() // 2)
    assert f", {threads} thread" in rows[0]["machine"]
    assert {row["device"] for row in rows} == {row["device"] for row in list_latencies(store, *_model(rows[0]))}


def test_a_depth_that_waits_for_a_gpu_held_by_others_is_timed_when_it_is_free(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "GPU_SECONDS", 1.0)
    jobs: list[dict[str, Any]] = []
    answers: list[list[dict[str, Any]]] = [[]]

    class Waiting(Child):
        device = "GPU"

        def __init__(self) -> None:
            """Start no process."""

        def ready(self, timeout_seconds: float | None) -> bool:
            return True

        def send(self, job: dict[str, Any]) -> None:
            jobs.append(job)

        def receive(self, timeout_seconds: float | None) -> dict[str, Any]:
            return {"latencies": answers.pop()}

        def end(self) -> None:
            """End no process."""

    spares: Any = SimpleNamespace(keep_one=Waiting, take=Waiting)
    heart: Any = SimpleNamespace(beat=lambda: None)
    one = spec((0, 1), 0, SHORT)
    stopwatch = worker._Stopwatch(store, settings, spares, heart, threading.Event())
    stopwatch.note(one)
    for _ in range(3):
        stopwatch.time_depths([])
    stopwatch.time_depths([one])
    assert [(job["depths"], job["device"]) for job in jobs] == [([2], "GPU")]  # it rests
    time.sleep(1.1)
    answers.append([asdict(Latency(2, 32, 32, "GPU", 3.0, 2.9, 3.1, 9, 0.3, 0.1))])
    for _ in range(3):
        stopwatch.time_depths([])
    assert len(jobs) == 2
    assert [row["device"] for row in list_latencies(store, one.model, one.model_revision)] == ["GPU"]


def _model(row: dict[str, Any]) -> tuple[str, str]:
    return row["model"], row["model_revision"]


def test_a_child_that_dies_within_a_line_of_its_answer_is_noticed() -> None:
    half = "import os; os.write(2, b'\\xff log'); print('{\"progress\": 1}\\n{\"resu', end='', flush=True); os._exit(3)"
    child = Child((sys.executable, "-c", half))
    try:
        assert child.receive(10) == {"progress": 1}
        with pytest.raises(ChildDied, match="exit code 3"):
            child.receive(10)
        until(lambda: "log" in child.log())
    finally:
        child.end()


def test_cancel_stops_a_running_fine_tune_within_two_seconds(store: Store, home_with_assets: Settings) -> None:
    key = queue.submit(store, [spec((0,), 0, LONG)])[0].key
    with worker_process(home_with_assets) as process:
        until(lambda: training(store, key))
        before = children(process)
        start = time.monotonic()
        queue.cancel(store, [key])
        until(lambda: row_of(store, key)["state"] == "cancelled")
        assert time.monotonic() - start < 2
        assert before
        assert not any(alive(child) for child in before)


@pytest.mark.parametrize("whom", ["the worker", "its process group, as Ctrl-C does"])
def test_a_worker_that_is_told_to_end_gives_its_run_back(store: Store, home_with_assets: Settings, whom: str) -> None:
    key = queue.submit(store, [spec((0,), 0, LONG)])[0].key
    with worker_process(home_with_assets) as process:
        until(lambda: training(store, key))
        if whom == "the worker":
            process.terminate()
        else:
            os.killpg(process.pid, signal.SIGINT)
        process.wait(30)
    row = row_of(store, key)
    assert (row["state"], row["attempts"]) == ("queued", 0)
    assert queue.list_workers(store) == []


def test_progress_moves_at_least_once_a_second(store: Store, home_with_assets: Settings) -> None:
    key = queue.submit(store, [spec((0,), 0, LONG)])[0].key
    with worker_process(home_with_assets):
        until(lambda: training(store, key))
        start, seen = time.monotonic(), set()
        while time.monotonic() - start < 6:
            seen.add(row_of(store, key)["progress"]["step"])
            time.sleep(0.1)
    assert len(seen) >= 6


@pytest.mark.both_databases
def test_a_run_that_fails_says_why_and_the_next_one_ends_with_its_result(
    store: Store, home_with_assets: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewals: list[str] = []
    renew = queue.renew

    def kept(store: Store, key: str, worker: str, progress: Progress, seconds: float) -> str:
        renewals.append(renew(store, key, worker, progress, seconds))
        return renewals[-1]

    monkeypatch.setattr(queue, "renew", kept)
    say_it_is_timed(store, SPEC)
    too_fast = replace(TINY, name="too fast", learning_rate=1e30)
    failing, good = (one.key for one in queue.submit(store, [spec((0,), 0, too_fast), spec((0,), 0, TINY)]))
    work(store, replace(home_with_assets, jobs=1), threading.Event(), once=True)
    row = row_of(store, failing)
    assert row["state"] == "failed"
    assert "loss became" in row["error"]
    row = row_of(store, good)
    assert (row["state"], row["error"], row["attempts"], row["lease_until"]) == ("done", None, 1, None)
    assert len(row["predictions"]) == 6000
    assert memories_of(store, [row])
    assert renewals
    assert set(renewals) == {"go on"}


def test_a_child_asked_for_something_impossible_answers_with_a_sentence(home_with_assets: Settings) -> None:
    nowhere = {"model": asdict(replace(MODEL, wheel="", folder="/nothing"))}
    with pytest.raises(RunFailed, match="/nothing"):
        ask({"kind": "similarity", "sentences": 1, "assets": str(home_with_assets.assets)} | ROWS | nowhere)


@pytest.mark.parametrize(("argument", "niceness"), [([], NICENESS), ([WAITED_FOR], 0)])
def test_a_child_gives_way_unless_it_is_waited_for(argument: list[str], niceness: int) -> None:
    child = Child([*CHILD_COMMAND, *argument])
    try:
        assert child.ready(60)
        assert psutil.Process(child.process.pid).nice() == min(19, psutil.Process().nice() + niceness)
        if AUTOGROUP.exists():  # a kernel that weighs sessions
            session = Path(f"/proc/{child.process.pid}/autogroup").read_text(encoding="ascii")
            assert session.endswith(f"nice {niceness}\n")
    finally:
        child.end()


def test_a_child_ends_with_the_pipe_to_its_parent(home_with_assets: Settings) -> None:
    child = Child()
    long: RunSpec = spec((0,), 0, LONG)
    job = {"kind": "run", "spec": long.to_dict(), "assets": str(home_with_assets.assets), "threads": 1}
    child.send(job | ROWS | {"alone": True, "timed_devices": []})
    until(lambda: child.receive(0.1))
    assert child.process.stdin is not None
    child.process.stdin.close()
    assert child.process.wait(5) == 1
    child.end()


def test_contribution_is_measured_on_the_real_model_and_remembered(
    store: Store, home_with_assets: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pmb.lab.plan.SCORE_SENTENCES", 100)
    scores = layer_scores(store, home_with_assets, MODEL, TASK)
    assert len(scores) == 6
    assert all(0 < score < 1 for score in scores)
    start = time.monotonic()
    plan = plan_strategy(store, home_with_assets, MODEL, TASK, "contribution", 1)
    assert time.monotonic() - start < 0.5
    assert plan.dropped_layers == (scores.index(max(scores)),)


def test_one_worker_a_home(store: Store, home_with_assets: Settings) -> None:
    assert not worker_is_here(home_with_assets)
    with worker_process(home_with_assets):
        until(lambda: worker_is_here(home_with_assets))
        with pytest.raises(WorkerBusy, match="one is enough"):
            work_once(store, home_with_assets)
