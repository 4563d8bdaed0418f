"""No wait without a word: who holds the worker's lock, a store that is locked, a child that is slow to start."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from pmb import cli
from pmb.errors import StoreUnavailable, WorkerBusy
from pmb.lab import executors, holder, queue, silence, waiting
from pmb.lab.database import make_engine
from pmb.lab.executors import Child
from pmb.lab.store import Store, open_store
from pmb.settings import REPOSITORY, Settings
from tests.app import click, opened
from tests.conftest import spec

# They wait for real processes.
pytestmark = pytest.mark.slow

# A worker's hold on the home and on the queue, without its imports of torch.
HOLDER = """
import sys, time
from pmb.lab import holder, queue
from pmb.lab.store import open_store
from pmb.settings import from_environment
found = from_environment()
store = open_store(found)
with holder.holding(found, store):
    if sys.argv[1] != "is silent":
        queue.beat(store, "another:1")
    print("holds", flush=True)
    while True:
        if sys.argv[1] == "beats":
            queue.beat(store, "another:1")
        time.sleep(0.2)
"""


@contextmanager
def held(settings: Settings, how: str = "beats", **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the worker's lock of the home."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, how],
        cwd=REPOSITORY,
        env=os.environ | {"PMB_HOME": str(settings.home)} | environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        assert process.stdout.readline() == "holds\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def warned(store: Store, settings: Settings, seconds: float = 20.0) -> str:
    """What is said to one who waits for a run; he gives up when it is said."""

    class Enough(Exception):
        pass

    heard: list[str] = []

    def warn(sentence: str) -> None:
        heard.append(sentence)
        raise Enough

    def tell(_line: str) -> None:
        if time.monotonic() > give_up:
            raise Enough

    (key,) = (s.key for s in queue.submit(store, [spec()]))
    give_up = time.monotonic() + seconds
    with pytest.raises(Enough):
        waiting.wait_for(store, settings, [key], tell, warn)
    return " ".join(heard)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr(waiting, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(silence, "SILENT_SECONDS", 0.3)
    monkeypatch.setattr(silence, "LOOK_SECONDS", 0.05)


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="Windows halts no process so")
def test_a_worker_that_is_stopped_is_named_although_it_was_heard_of_just_now(store: Store, settings: Settings) -> None:
    """With its real patience: within a few seconds, and not when its heartbeat has run out."""
    with held(settings, "beats once") as process:  # halted while it writes, it would lock the store too
        assert queue.list_workers(store)
        process.send_signal(signal.SIGSTOP)
        start = time.monotonic()
        said = warned(store, settings)
        assert time.monotonic() - start < 5.0
        assert f"process {process.pid}, since 20" in said
        assert f"is stopped and holds the lock: `fg` in its terminal or `kill -CONT {process.pid}`" in said


def test_a_worker_of_another_store_is_named_with_both(
    store: Store, settings: Settings, tmp_path: Path, impatient: None
) -> None:
    with held(settings, PMB_DATABASE_URL=f"sqlite:///{tmp_path}/other.sqlite") as process:
        said = warned(store, settings)
        assert f"(process {process.pid}, since" in said
        assert f"works another store, {tmp_path}/other.sqlite, and this is {settings.home}/lab.sqlite" in said
        assert "set PMB_HOME to another folder" in said
        with pytest.raises(WorkerBusy, match="works another store"), holder.holding(settings, store):
            pass


def test_a_password_of_the_other_store_is_not_written_down(settings: Settings, store: Store) -> None:
    elsewhere = replace(settings, database_url="postgresql://me:zqxvk@127.0.0.1:1/lab?application_name=zqxvk")
    with_password = replace(store, engine=make_engine(elsewhere.database_url))
    with holder.holding(settings, with_password):
        card = (settings.home / "worker.json").read_text()
    assert "127.0.0.1:1/lab" in card
    assert "zqxvk" not in card
    assert not (settings.home / "worker.json").exists()


def test_a_worker_that_is_not_heard_of_is_named(store: Store, settings: Settings, impatient: None) -> None:
    with held(settings, "is silent") as process:
        said = warned(store, settings)
        assert f"process {process.pid}, since" in said
        assert f"has not been heard of: wait for it, or end it with `kill {process.pid}`" in said


def test_a_worker_that_works_is_no_reason_to_warn(store: Store, settings: Settings, impatient: None) -> None:
    with held(settings):
        assert warned(store, settings, seconds=2.0) == ""


def test_what_a_killed_worker_has_written_down_is_not_believed(store: Store, settings: Settings) -> None:
    with held(settings) as process:
        process.kill()
        process.wait()
        assert (settings.home / "worker.json").exists()
        assert holder.find_holder(settings) is None
        card = settings.home / "worker.json"
        card.write_text(card.read_text().replace(str(process.pid), str(os.getpid())))  # its number is another's now
        assert holder.trouble(settings, store) == ""
        for damaged in ("", "[]", "{}", '{"pid": "x", "host": 1, "since": 1e99, "store": 0}'):
            card.write_text(damaged)
            assert holder.find_holder(settings) is None


# =============================================================================
# Locked stores and slow children
# =============================================================================


@contextmanager
def locked(settings: Settings, seconds: float) -> Iterator[None]:
    """Another program holds the place of the writer for so long."""
    with closing(sqlite3.connect(settings.home / "lab.sqlite", isolation_level=None, check_same_thread=False)) as raw:
        raw.execute("BEGIN IMMEDIATE")
        release = threading.Timer(seconds, lambda: raw.execute("ROLLBACK"))
        release.start()
        try:
            yield
        finally:
            release.join()


def heard_while(act: Callable[[], object]) -> list[str]:
    heard: list[str] = []
    before = silence.notice.set(heard.append)
    try:
        act()
    finally:
        silence.notice.reset(before)
    return heard


def test_a_store_that_is_locked_is_said_once_to_who_waits(store: Store, settings: Settings, impatient: None) -> None:
    with locked(settings, 1.2):
        heard = heard_while(lambda: queue.submit(store, [spec()]))
    assert len(heard) == 1
    assert heard[0].startswith(
        f"Waiting for the store sqlite:///{settings.home}/lab.sqlite: another program has locked"
    )
    assert heard_while(lambda: queue.submit(store, [spec()])) == []


def test_a_page_that_waits_for_the_store_says_so(
    scored: Store, settings: Settings, impatient: None, content_streamlit: None
) -> None:
    app = opened()
    with locked(settings, 1.5):
        click(app, "run")
    assert any("another program has locked it" in one.value for one in app.toast)


def test_another_process_that_migrates_is_waited_for_with_a_word_and_not_for_ever(
    settings: Settings, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pmb.lab.store.LOCK_SECONDS", 1.0)
    settings.home.mkdir()

    def refused() -> None:
        with pytest.raises(StoreUnavailable, match=r"held .*store\.lock for 1 s to make the store ready"):
            open_store(settings)

    with FileLock(settings.home / "store.lock"):
        heard = heard_while(refused)
    assert len(heard) == 1
    assert "Waiting for another process that makes the store ready" in heard[0]


SLOW_CHILD = """
import json, sys, time
time.sleep(1.2)
print(json.dumps({"device": "none"}), flush=True)
for _ in range(6):
    time.sleep(0.15)
    print(json.dumps({"progress": {"phase": "loading"}}), flush=True)
print(json.dumps({"answered": True}), flush=True)
sys.stdin.read()
"""


def test_a_child_that_is_slow_to_start_is_said_and_one_that_reports_is_not(impatient: None) -> None:
    command = [sys.executable, "-c", SLOW_CHILD]
    assert heard_while(lambda: Child(command).ask({}, lambda _: None)) == [executors.WAITING]
    quick = [command[0], "-c", SLOW_CHILD.replace("sleep(1.2)", "sleep(0)")]
    assert executors.WAITING not in heard_while(lambda: Child(quick).ask({}, lambda _: None))[1:]


def test_where_there_is_no_terminal_progress_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("pmb.cli.time.monotonic", lambda: now[0])
    show = cli.ProgressLine()
    for second in range(100):
        now[0] = float(second)
        show(f"  {second} s")
    show("")
    assert capsys.readouterr().err.split("\n") == ["4 s", "12 s", "28 s", "60 s", ""]
    show("again")
    assert capsys.readouterr().err == ""
