"""Runs on a real Ray cluster of three nodes on this machine: a node killed, a run cancelled, one fine-tuned."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import psutil
import pytest
from tenacity import Retrying, stop_after_attempt

from pmb import settings as settings_module
from pmb.doctor import examine_cluster
from pmb.errors import BadInput, PmbError
from pmb.lab import pace, queue, worker
from pmb.lab.cluster import RayCluster, open_cluster, relay
from pmb.lab.executors import NodeDied
from pmb.lab.store import Store, list_runs
from pmb.settings import REPOSITORY, Settings
from tests import test_worker
from tests.conftest import result, spec
from tests.test_faults import run_by
from tests.test_worker import LONG, SHORT, alive, in_phase, row_of

until = partial(test_worker.until, seconds=200)
WHOLE = (0, 1, 2, 3, 4, 5)  # its depth needs no timing
# In the place of a fine-tune: notes that it began, takes a moment and as long as it is held, answers as the file says.
FAKE = """
import os, select, sys, time
answer, begun, hold = sys.argv[1:]
sys.stdin.readline()
open(begun, "a").write("begun ")
time.sleep(0.2)
while os.path.exists(hold):
    if select.select([sys.stdin], [], [], 0.05)[0]:
        sys.exit("the parent is dead")
print(open(answer).read(), flush=True)
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A head and two more nodes, each a group of processes with one CPU to give, on the loopback address."""
    token = tmp_path_factory.mktemp("ray") / "token"
    token.write_text("0" * 64)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
        environment.setenv("RAY_AUTH_MODE", "token")
        environment.setenv("RAY_AUTH_TOKEN_PATH", str(token))
        environment.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # Ray's word for: loopback alone
        environment.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else Ray warns that this will be its default
        cluster_utils = pytest.importorskip("ray.cluster_utils")
        node = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
        started = cluster_utils.Cluster()
        for more in ({"include_dashboard": False}, {}, {}):
            # Ray gives a node 30 s to start, which is too little where much else computes.
            Retrying(stop=stop_after_attempt(3), reraise=True)(started.add_node, wait=False, **node, **more)
        started.wait_for_nodes(timeout=120)
        yield started
        started.shutdown()


@pytest.fixture
def on_the_cluster(cluster: Any, settings: Settings) -> Settings:
    return replace(settings, executor="ray", ray_address=cluster.address)


@contextmanager
def at_work(store: Store, settings: Settings) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=worker.work, args=(store, settings, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.slow
def test_of_sixty_runs_all_results_are_there_once_though_a_node_was_killed(
    store: Store, on_the_cluster: Settings, cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, begun, hold = (tmp_path / name for name in ("answer.json", "begun", "hold"))
    answer.write_text(json.dumps({"result": asdict(result()), "latencies": []}))
    command = (sys.executable, "-S", "-c", FAKE, str(answer), str(begun), str(hold))
    monkeypatch.setattr(worker, "_open_executor", partial(open_cluster, command=command))
    queue.submit(store, [spec(WHOLE, seed) for seed in range(60)])
    doomed = max(cluster.worker_nodes, key=lambda node: node.unique_id)
    raylet = psutil.Process(doomed.all_processes["raylet"][0].process.pid)
    with at_work(store, on_the_cluster):
        until(lambda: len(list_runs(store, "done")) >= 20)
        hold.touch()
        time.sleep(0.5)  # those that saw no file are gone
        children = until(lambda: [child for child in offspring(raylet) if str(hold) in command_of(child)])
        cluster.remove_node(doomed, allow_graceful=False)  # signal 9 to its processes
        until(lambda: not any(map(alive, children)))
        hold.unlink()
        until(lambda: len(list_runs(store, "done")) == 60)
    rows = list_runs(store)
    assert [row["state"] for row in rows] == ["done"] * 60
    assert {row["score"] for row in rows} == {result().score}
    assert [row["attempts"] for row in rows].count(1) >= 60 - 1  # what ran there was begun again, by Ray or the worker
    assert {row["deaths"] for row in rows} == {0}
    assert begun.read_text().count("begun") > 60


@pytest.mark.slow
def test_a_real_fine_tune_ends_with_its_score_while_another_is_cancelled(
    store: Store, on_the_cluster: Settings, home_with_assets: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker._Stopwatch, "time_depths", lambda *_: None)  # a third child, which shows no more
    long, short = spec((0,), 0, LONG), spec((0,), 0, SHORT)
    key, cancelled = (entry.key for entry in queue.submit(store, [short, long]))
    with at_work(store, on_the_cluster):
        until(lambda: in_phase(store, cancelled, "training"))
        children = [p for p in psutil.process_iter() if "pmb.lab.child" in command_of(p) and of_this_cluster(p)]
        queue.cancel(store, [cancelled])
        until(lambda: row_of(store, cancelled)["state"] == "cancelled")
        until(lambda: row_of(store, key)["state"] == "done")
        until(lambda: not any(map(alive, children)))
    row = row_of(store, key)
    assert (row["attempts"], len(row["predictions"])) == (1, 6000)
    assert children


def command_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def offspring(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def of_this_cluster(process: psutil.Process) -> bool:
    try:
        return process.environ().get("RAY_AUTH_TOKEN_PATH") == os.environ["RAY_AUTH_TOKEN_PATH"]
    except psutil.Error:
        return False


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:9", "No Ray cluster answers at 127.0.0.1:9"),
        ("ray://head:10001", "PMB_RAY_ADDRESS is 'ray://head:10001'; HOST:PORT"),
        ("head", "PMB_RAY_ADDRESS is 'head'; HOST:PORT"),
        ("head:99999999", "No Ray cluster answers at head:99999999"),
    ],
)
def test_an_address_without_a_cluster_is_said_at_once(settings: Settings, address: str, words: str) -> None:
    pytest.importorskip("ray")
    began = time.monotonic()
    with pytest.raises(PmbError) as told:
        open_cluster(replace(settings, executor="ray", ray_address=address))
    assert str(told.value).startswith(words)
    assert "\n" not in str(told.value)
    assert time.monotonic() - began < 20


def test_without_ray_the_sentence_names_the_command_that_installs_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(PmbError, match=r"Ray is not installed; `pip install -r requirements-ray.txt`"):
        open_cluster(replace(settings, executor="ray"))
    finding = examine_cluster(replace(settings, executor="ray"))
    assert (finding.what, finding.ok) == ("ray", False)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("PMB_CPUS_PER_RUN", "0"), ("PMB_CPUS_PER_RUN", "1.5"), ("PMB_GPUS_PER_RUN", "1.5"), ("PMB_GPUS_PER_RUN", "all")],
)
def test_a_share_that_ray_cannot_give_is_refused(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(BadInput, match=f"{variable} is '{value}'"):
        settings_module.from_environment()


def test_runs_at_a_time_follow_the_nodes_that_are_alive(settings: Settings) -> None:
    nodes = [
        {"Alive": True, "Resources": {"CPU": 16.0, "GPU": 4.0}},
        {"Alive": True, "Resources": {"CPU": 3.0, "GPU": 4.0}},
        {"Alive": True, "Resources": {"CPU": 64.0}},
        {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}},
    ]
    ray: Any = MagicMock()
    ray.nodes.return_value = nodes
    assert RayCluster(ray, settings).most() == 4 + 3
    assert RayCluster(ray, replace(settings, gpus_per_run=0.25)).most() == 16 + 3
    assert RayCluster(ray, replace(settings, gpus_per_run=0.0, cpus_per_run=4)).most() == 4 + 0 + 16
    assert RayCluster(ray, replace(settings, gpus_per_run=8.0)).most() == 1  # one is asked for, so that a cluster grows
    assert RayCluster(ray, replace(settings, jobs=40)).most() == 40


def test_a_run_whose_node_died_goes_back_to_its_place_and_is_not_held_against_it(
    store: Store, settings: Settings
) -> None:
    queue.submit(store, [spec()])
    child = MagicMock(receive=MagicMock(side_effect=NodeDied("The node died.")))
    child.take.return_value = child
    row = run_by(store, settings, child)
    assert (row["state"], row["deaths"], row["attempts"], row["not_before"]) == ("queued", 0, 1, None)
    timed = {"result": asdict(result()), "latencies": [], "timing": True}
    child.receive.side_effect = [timed, NodeDied("The node died.")]
    assert run_by(store, settings, child)["state"] == "done"  # the result had come before


def test_a_node_with_a_home_of_its_own_uses_it_and_passes_on_what_comes_before_the_last_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PMB_HOME", str(tmp_path))
    (tmp_path / "checkpoints" / "key").mkdir(parents=True)
    echo = """
import sys, json
job = json.loads(sys.stdin.readline())
print(json.dumps({"result": 1, "timing": True}))
print(json.dumps({"result": job}))
"""
    post, job = MagicMock(), {"assets": "/lab/assets", "checkpoints": "/lab/checkpoints/key", "threads": 1}
    answer = relay(post, (sys.executable, "-S", "-c", echo), "name", job)
    there = {"assets": f"{tmp_path}/assets", "checkpoints": f"{tmp_path}/checkpoints/key", "threads": 1}
    assert answer["message"] == {"result": there}
    post.put.remote.assert_called_once_with("name", {"result": 1, "timing": True})
    assert not (tmp_path / "checkpoints" / "key").exists()
    monkeypatch.delenv("PMB_HOME")
    assert relay(post, (sys.executable, "-S", "-c", echo), "name", job)["message"] == {"result": job}


SBATCH = REPOSITORY / "docs" / "slurm" / "worker.sbatch"


def test_the_slurm_job_without_a_database_says_what_is_missing(tmp_path: Path) -> None:
    done = subprocess.run(["bash", str(SBATCH)], cwd=tmp_path, env={"PATH": os.environ["PATH"]}, capture_output=True)
    assert done.returncode
    assert b"PMB_DATABASE_URL: is not set" in done.stderr


@pytest.mark.slow
def test_the_slurm_job_works_the_queue_that_its_database_names_and_tidies_up(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = queue.submit(store, [spec()])[0].key
    monkeypatch.setattr(queue, "LEASE_SECONDS", -1.0)
    queue.claim(store, "gone:1")
    queue.cancel(store, [key])
    places = {"PMB_DATABASE_URL": store.engine.url.render_as_string(), "PMB_SCRATCH": str(tmp_path)}
    environment = os.environ | places | {"SLURM_JOB_ID": "7"}
    subprocess.run(["bash", str(SBATCH)], cwd=REPOSITORY, env=environment, check=True, timeout=120)
    assert row_of(store, key)["state"] == "cancelled"  # a worker saw that nobody holds the run any more
    assert not (tmp_path / "pmb-7").exists()


def test_the_more_runs_and_workers_share_a_store_the_less_often_each_comes() -> None:
    alone, crowd, thousands = pace.renew_seconds(1), pace.renew_seconds(100), pace.renew_seconds(10_000)
    assert (alone, crowd) == (pace.RENEW_SECONDS, 2.0)
    assert thousands <= queue.LEASE_SECONDS / 3  # two may be missed before the lease is over
    assert (pace.poll_seconds(1), pace.poll_seconds(100)) == (pace.POLL_SECONDS, 1.0)
    assert pace.poll_seconds(10_000) <= pace.BEAT_SECONDS
    assert (pace.beat_seconds(1), pace.beat_seconds(300)) == (pace.BEAT_SECONDS, 3.0)
    assert pace.beat_seconds(10_000) + pace.poll_seconds(10_000) < queue.ALIVE_SECONDS  # nobody is thought dead for it
