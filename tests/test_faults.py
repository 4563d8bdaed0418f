"""What can go wrong on one machine, done to the real thing; docs/faults.md names every fault and its test."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from pmb.catalog.models import find_model
from pmb.catalog.recipes import RECIPES
from pmb.catalog.tasks import find_task
from pmb.engine import run as engine
from pmb.engine.checkpoints import Saving
from pmb.errors import DiskFull
from pmb.lab import disk, pace, queue, worker
from pmb.lab.executors import Child, ChildDied, ask
from pmb.lab.store import Store, get_run, open_store
from pmb.settings import REPOSITORY, Settings, cores
from pmb.spec import Progress
from tests.conftest import fill, result, spec
from tests.test_worker import LONG, ROWS, alive, children, row_of, say_it_is_timed, until, worker_process

MODEL, TASK = find_model("minilm-l6"), find_task("rotten-tomatoes")
EPOCHS = replace(RECIPES["quick"], name="epochs", train_sentences=320, epochs=5, dropout=0.1)
STEPS_AN_EPOCH = 320 // EPOCHS.batch_size


# =============================================================================
# Power cuts and full disks
# =============================================================================

WRITER = """
import sys
from pmb.lab import queue
from pmb.lab.store import open_store
from pmb.settings import from_environment
from tests.conftest import result, spec
store = open_store(from_environment())
for seed in range(100_000):
    queue.submit(store, [spec(seed=seed)])
    claim = queue.claim(store, "writer")
    if seed % 3:
        queue.finish(store, claim.key, "writer", result(seed / 100_000))
        print(claim.key, flush=True)
"""


@pytest.mark.slow
def test_a_store_copied_in_the_middle_of_a_write_has_every_finished_result_and_no_half_row(
    settings: Settings, tmp_path: Path
) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    finished: list[str] = []
    assert writer.stdout is not None
    reader = threading.Thread(target=lambda: finished.extend(line.strip() for line in writer.stdout or ()))
    reader.start()
    try:
        until(lambda: finished)
        for cut in range(8):
            time.sleep(0.05 + 0.03 * cut)
            before = list(finished)
            os.kill(writer.pid, signal.SIGSTOP)  # the power is gone: what is on the disk is what there is
            home = tmp_path / f"cut {cut}"
            home.mkdir()
            for file in settings.home.glob("lab.sqlite*"):
                if not file.name.endswith("-shm"):  # lives in memory
                    shutil.copy(file, home)
            os.kill(writer.pid, signal.SIGCONT)
            with (home / "lab.sqlite-wal").open("ab") as wal:
                wal.write(os.urandom(3000))  # a write that was under way
            _check_copy(replace(settings, home=home), before)
    finally:
        writer.kill()
        writer.wait()
        reader.join()
        writer.stdout.close()


def _check_copy(settings: Settings, finished: list[str]) -> None:
    with closing(sqlite3.connect(settings.home / "lab.sqlite")) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        half = "(state = 'done') != (score IS NOT NULL AND predictions IS NOT NULL AND finished_at IS NOT NULL)"
        assert raw.execute(f"SELECT count(*) FROM runs WHERE {half}").fetchone() == (0,)  # noqa: S608
        done = {key for (key,) in raw.execute("SELECT key FROM runs WHERE state = 'done'")}
    assert set(finished) <= done
    opened = open_store(settings)
    queue.release_lost(opened, ["writer"])
    assert queue.claim(opened, "another")  # the first run, which the writer held and never finished
    opened.close()


def test_a_result_waits_for_space_on_a_full_disk(settings: Settings, tiny_disk: Path) -> None:
    store = open_store(replace(settings, home=tiny_disk))
    key = queue.submit(store, [spec()])[0].key
    assert queue.claim(store, "worker")
    others = fill(tiny_disk)
    long = replace(result(), predictions=(0, 1) * 50_000)
    with pytest.raises(DiskFull, match="disk of the store .* is full"):
        queue.finish(store, key, "worker", long)
    threading.Timer(0.5, others.unlink).start()
    assert pace.patiently(lambda: queue.finish(store, key, "worker", long))
    row = get_run(store, key)
    store.close()
    assert row is not None
    assert (row["state"], row["score"]) == ("done", 0.8)


# =============================================================================
# Killed processes
# =============================================================================


@pytest.mark.slow
def test_a_run_whose_child_and_worker_are_killed_goes_on_from_its_saved_epoch_to_the_same_predictions(
    store: Store, home_with_assets: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = spec((0,), 0, EPOCHS)
    job = {"kind": "run", "spec": asked.to_dict(), "assets": str(home_with_assets.assets), "threads": cores()}
    undisturbed = ask(job | ROWS | {"alone": False, "timed_devices": []})["result"]
    monkeypatch.setenv("PMB_CHECKPOINT_SECONDS", "0")
    say_it_is_timed(store, asked)
    key = queue.submit(store, [asked])[0].key
    checkpoint = disk.checkpoint_folder(home_with_assets, key) / "cut.safetensors"

    def first_step(attempt: int) -> int:
        """The first step that is seen of an attempt."""
        row = row_of(store, key)
        return (row["progress"] or {}).get("step", 0) if row["attempts"] == attempt else 0

    with worker_process(home_with_assets) as process:
        until(checkpoint.exists)
        for child in children(process):
            child.kill()
        assert until(lambda: first_step(2), 200) > STEPS_AN_EPOCH
        saved_at = checkpoint.stat().st_mtime_ns
        until(lambda: checkpoint.stat().st_mtime_ns > saved_at)
        process.kill()
        process.wait()
    assert row_of(store, key)["state"] == "running"
    with worker_process(home_with_assets):
        assert until(lambda: first_step(3), 200) > 2 * STEPS_AN_EPOCH
        until(lambda: row_of(store, key)["state"] == "done")
        until(lambda: not checkpoint.parent.exists())
    row = row_of(store, key)
    assert row["predictions"] == undisturbed["predictions"]
    assert row["losses"] == undisturbed["losses"]
    assert (row["attempts"], row["deaths"]) == (3, 1)


@pytest.mark.slow
def test_each_fine_tuning_of_a_run_that_does_two_goes_on_by_itself(
    home_with_assets: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = replace(spec((0,), 0, replace(EPOCHS, train_sentences=64, epochs=2)), procedure="tune-cut-tune")
    whole = engine.encoded

    def few(*args: Any) -> dict[str, Any]:
        parts = whole(*args)
        dev = parts["dev"]
        return parts | {"dev": replace(dev, token_ids=dev.token_ids[:100], labels=dev.labels[:100])}

    monkeypatch.setattr(engine, "encoded", few)

    def done(kill_at: int | None, saving: Saving | None) -> tuple[Any, int]:
        """The result, and how many training steps it took; killed at one of them, None."""
        steps = 0

        def report(progress: Progress) -> None:
            nonlocal steps
            steps += progress.phase == "training"
            if steps == kill_at:
                raise KeyboardInterrupt

        try:
            return engine.run(asked, MODEL, TASK, home_with_assets.assets, report, saving), steps
        except KeyboardInterrupt:
            return None, steps

    undisturbed, steps = done(None, None)
    a_tuning = steps // 2
    saving = Saving(tmp_path / "checkpoints", 0.0)
    assert done(a_tuning // 2 + 1, saving)[0] is None  # in the second epoch of the first
    assert done(a_tuning // 2 + a_tuning // 2 + 1, saving)[0] is None  # in the second epoch of the second
    again, left = done(None, saving)
    assert left == a_tuning // 2
    assert asdict(again) | _times(undisturbed) == asdict(undisturbed)


def _times(result: Any) -> dict[str, float]:
    """What is measured and not computed; a run that goes on has no peak of its own (docs/design.md)."""
    names = ("train_seconds", "total_seconds", "peak_megabytes", "idle_megabytes")
    return {name: getattr(result, name) for name in names}


@pytest.mark.slow
def test_a_child_without_memory_says_so_in_words_and_one_killed_for_want_of_it_too(home_with_assets: Settings) -> None:
    child = Child()
    try:
        assert child.ready(90)
        process = psutil.Process(child.process.pid)
        process.rlimit(psutil.RLIMIT_AS, (process.memory_info().vms + 150 * 2**20,) * 2)
        job = {"kind": "run", "spec": spec((0,), 0, LONG).to_dict(), "assets": str(home_with_assets.assets)}
        child.send(job | ROWS | {"threads": 1, "alone": False, "timed_devices": []})
        message = until(lambda: _error(child))
        assert re.match(
            r"The machine ran out of memory: this run held \d+\.\d GB, \d+\.\d were free for it; "
            rf"lower the recipe's batch size \({LONG.batch_size}\) or length \({LONG.max_length} tokens\)",
            message,
        )
    finally:
        child.end()
    killed = Child((sys.executable, "-c", "import time; time.sleep(60)"))
    try:
        assert killed.receive(0.01) is None
        killed.process.kill()
        said = r"signal 9\), perhaps for want of memory: \d+\.\d GB were free shortly before"
        with pytest.raises(ChildDied, match=said):
            killed.receive(10)
    finally:
        killed.end()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _error(child: Child) -> str | None:
    message = child.receive(1)
    return message.get("error") if message else None


@pytest.mark.slow
def test_a_worker_and_a_page_server_that_are_killed_are_started_again(store: Store, home_with_assets: Settings) -> None:
    key = queue.submit(store, [spec((0,), 0, LONG)])[0].key
    command = [sys.executable, "-m", "pmb", "dashboard", "--port", str(free_port())]
    process = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        until(lambda: row_of(store, key)["state"] == "running")
        _started_by(process.pid, "worker").kill()
        until(lambda: (row_of(store, key)["state"], row_of(store, key)["attempts"]) == ("running", 2))
        worker, page = (_started_by(process.pid, name) for name in ("worker", "pmb.page_server"))
        page.kill()
        until(lambda: set(_all_started_by(process.pid, "pmb.page_server")) - {page})
        assert _started_by(process.pid, "worker") == worker
        assert (row_of(store, key)["state"], row_of(store, key)["attempts"]) == ("running", 2)
        process.terminate()
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert "The page server died (killed by signal 9) and is started again, 1 of 3 times; the worker goes on." in said
    assert (row_of(store, key)["state"], row_of(store, key)["attempts"]) == ("queued", 1)


def _started_by(pid: int, name: str) -> psutil.Process:
    (found,) = _all_started_by(pid, name)
    return found


def _all_started_by(pid: int, name: str) -> list[psutil.Process]:
    return [child for child in psutil.Process(pid).children() if alive(child) and name in child.cmdline()]


class _Scripted:
    """Stands for children: gives these messages, then dies."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.messages = list(messages)

    def take(self) -> Any:
        return self

    def receive(self, timeout_seconds: float) -> dict[str, Any]:
        if not self.messages:
            raise ChildDied("The process of this run died (killed by signal 9).")
        return self.messages.pop(0)

    def nothing(self, *_: object) -> None:
        pass

    warm_up_for = send = end = prepare = nothing

    def log(self) -> str:
        return "last lines"


def run_by(store: Store, settings: Settings, child: Any) -> dict[str, Any]:
    """How the one run that waits ends."""
    claim = queue.claim(store, "worker")
    assert claim is not None
    job = {"threads": 1, "alone": True}
    stopwatch: Any = SimpleNamespace(note=lambda spec: None, heart=SimpleNamespace(renew_seconds=0.5))
    worker._run(store, settings, "worker", claim, job, child, stopwatch, threading.Event())
    return row_of(store, claim.key)


def test_a_child_killed_while_it_times_loses_no_result(store: Store, settings: Settings) -> None:
    queue.submit(store, [spec()])
    timing = {"progress": asdict(Progress("timing"))}
    row = run_by(store, settings, _Scripted(timing, {"result": asdict(result()), "latencies": [], "timing": True}))
    assert (row["state"], row["score"], row["deaths"]) == ("done", 0.8, 0)


def test_a_run_whose_model_has_changed_fails_with_a_sentence(store: Store, settings: Settings) -> None:
    queue.submit(store, [replace(spec(), model_revision="of yesterday")])
    row = run_by(store, settings, _Scripted())
    assert row["state"] == "failed"
    assert row["error"] == "The model minilm-l6 has changed since this run was asked for; ask for it again."
