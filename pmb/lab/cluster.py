"""Runs on a Ray cluster: each is a task that starts the same child process on some node and passes its words on.

What a child says on its way goes to the lab's post, an actor beside the worker, and the last word is the task's value.
A task whose node dies is begun again by Ray on another. The store stays the truth: if Ray gives up, the worker gives
the run back.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import threading
import time
import uuid
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from pmb.errors import PmbError
from pmb.lab.executors import CHILD_COMMAND, Child, ChildDied, Message, NodeDied
from pmb.lab.silence import said_after
from pmb.settings import Settings

INSTALL = "pip install -r requirements-ray.txt"
LOOK_SECONDS = 2.0  # how soon nodes that came or went are seen
LISTEN_SECONDS = 0.25  # how soon a task sees that it is cancelled
ANSWER_SECONDS = 5.0  # for the head of a cluster to accept a connection
POST_SECONDS = 0.25  # for the post to answer
RETRIES = 4  # of a task whose node, or whose process of Ray, died
END_SECONDS = 5.0  # between asking a task to end its child and killing the task


class Post:
    """An actor: messages of children, kept until their worker fetches them."""

    def __init__(self) -> None:
        """Hold none yet."""
        self._messages: dict[str, list[Message]] = defaultdict(list)

    def put(self, name: str, message: Message) -> None:
        """One more of that child."""
        self._messages[name].append(message)

    def fetch(self, name: str) -> list[Message]:
        """All of that child since the last time."""
        return self._messages.pop(name, [])


class RayChild:
    """One child process on a node that Ray chooses; it starts with its job."""

    device: str | None = None  # known when the job is done

    def __init__(self, ray: ModuleType, start: Callable[[str, Message], Any], post: Any) -> None:
        """Start nothing yet: a child that waits would hold a GPU."""
        self._ray, self._start, self._post = ray, start, post
        self._name = uuid.uuid4().hex
        self._answer: Any = None
        self._fetching: Any = None
        self._waiting: deque[Message] = deque()
        self._log = ""

    def ready(self, timeout_seconds: float | None) -> bool:
        """It takes its job at once."""
        return True

    def send(self, job: Message) -> None:
        """Hand over the job; Ray starts it when a node has room."""
        self._answer = self._start(self._name, job)

    def receive(self, timeout_seconds: float | None) -> Message | None:
        """The next message; None when the time is over; raises ChildDied, NodeDied."""
        if self._waiting:
            return self._waiting.popleft()
        try:
            if not self._ray.wait([self._answer], timeout=timeout_seconds)[0]:
                self._fetch()
                return self._waiting.popleft() if self._waiting else None
            words: Message = self._ray.get(self._answer)
        except self._ray.exceptions.RayError as error:
            raise NodeDied(f"The node of this run, or Ray's process on it, died ({type(error).__name__}).") from error
        self._log = words["log"]
        if "died" in words:
            raise ChildDied(words["died"])
        self._waiting.append(words["message"])
        return self._waiting.popleft()

    def _fetch(self) -> None:
        """Take in what has come by post; one that is slow to answer must not keep a lease from being renewed."""
        self._fetching = self._fetching or self._post.fetch.remote(self._name)
        if self._ray.wait([self._fetching], timeout=POST_SECONDS)[0]:
            self._waiting.extend(self._ray.get(self._fetching))
            self._fetching = None

    def log(self) -> str:
        """The last lines of stderr, which come with the last message; none of a node that died."""
        return self._log

    def end(self) -> None:
        """Have the task end its child; a task that does not is killed, and its child sees the closed pipe."""
        if self._answer is None:
            return
        self._post.fetch.remote(self._name)  # so that nothing stays with it
        if self._ray.wait([self._answer], timeout=0)[0]:
            return
        self._ray.cancel(self._answer, force=False)
        if not self._ray.wait([self._answer], timeout=END_SECONDS)[0]:
            self._ray.cancel(self._answer, force=True)


class RayCluster:
    """The nodes of a Ray cluster as an executor; each run holds its share of CPUs and GPUs until it ends."""

    def __init__(self, ray: ModuleType, settings: Settings, command: Sequence[str] | None = None) -> None:
        """Take over a connection; without a command the nodes start children of the lab."""
        self._ray, self._settings, self._command = ray, settings, command
        self._most, self._looked = 1, float("-inf")
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        self._post = (
            ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Post)
            .options(scheduling_strategy=here)
            .remote()
        )

    def most(self) -> int:
        """PMB_JOBS, or as many as fit on the nodes that are alive; at least one, for which a cluster may grow."""
        if self._settings.jobs:
            return self._settings.jobs
        if time.monotonic() - self._looked >= LOOK_SECONDS:
            self._most, self._looked = max(1, self.fitting()), time.monotonic()
        return self._most

    def fitting(self) -> int:
        """How many runs the nodes that are alive have room for, with other programs' use left out of account."""
        needs = {name: need for name, need in self._share().items() if need}
        return sum(
            min(int(node["Resources"].get(name, 0) / need + 1e-6) for name, need in needs.items())
            for node in self._nodes()
        )

    def describe(self) -> str:
        """The cluster in a line."""
        share = self._share()
        return (
            f"{len(self._nodes())} nodes, room for {self.fitting()} runs of {share['CPU']} CPUs, {share['GPU']:g} GPUs"
        )

    def threads(self, together: int) -> int:
        """As many as a run has CPUs, however many run."""
        return self._settings.cpus_per_run

    def warm_up_for(self, job: Message) -> None:
        """Nothing: no child waits."""

    def prepare(self) -> None:
        """Nothing: a child that waits would hold a GPU."""

    def keep_one(self) -> RayChild:
        """One that has not begun."""
        return self.take()

    def take(self) -> RayChild:
        """One that has not begun."""
        share = self._share()
        # max_calls: Ray's own processes stay for the next run, also on GPUs; what holds GPU memory is the child.
        options = {"num_cpus": share["CPU"], "num_gpus": share["GPU"], "max_retries": RETRIES, "max_calls": 0}
        task = self._ray.remote(**options, scheduling_strategy="SPREAD")(relay)
        return RayChild(self._ray, partial(task.remote, self._post, self._command), self._post)

    def end(self) -> None:
        """Leave the cluster."""
        self._ray.shutdown()

    def _nodes(self) -> list[dict[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]

    def _share(self) -> dict[str, float]:
        gpus = self._settings.gpus_per_run
        if gpus is None:
            gpus = float(any(node["Resources"].get("GPU") for node in self._nodes()))
        return {"CPU": self._settings.cpus_per_run, "GPU": gpus}


def relay(post: Any, command: Sequence[str] | None, name: str, job: Message) -> Message:
    """On the node: do the job in a child, post its messages and return the last one, with the child's log.

    Model, data and checkpoints are in the node's own PMB_HOME where it has one, else at the paths that the job names.
    """
    own = _at_home(job, Path(home)) if (home := os.environ.get("PMB_HOME")) else {}
    job = job | own
    child = Child(command or CHILD_COMMAND)
    try:
        child.send(job)
        while True:
            message = child.receive(LISTEN_SECONDS)  # between two of them Ray can interrupt
            if message is not None and ("progress" in message or message.get("timing")):
                post.put.remote(name, message)
            elif message is not None:
                if "checkpoints" in own:
                    shutil.rmtree(own["checkpoints"], ignore_errors=True)  # no worker tidies this home
                return {"message": message, "log": child.log()}
    except ChildDied as error:
        return {"died": str(error), "log": child.log()}
    finally:
        child.end()


def _at_home(job: Message, home: Path) -> Message:
    """The job's paths on a node with this home."""
    paths = {"assets": home / "assets"}
    if "checkpoints" in job:
        paths["checkpoints"] = home / "checkpoints" / Path(job["checkpoints"]).name
    return {name: str(path) for name, path in paths.items()}


def open_cluster(settings: Settings, command: Sequence[str] | None = None) -> RayCluster:
    """Connect to the cluster, or start a Ray of this machine alone; raises PmbError."""
    address = settings.ray_address or "local"
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address == "local":
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # Ray's name for: listen on loopback alone
    try:
        import ray
        import ray.util.scheduling_strategies
    except ModuleNotFoundError as error:
        raise PmbError(f"PMB_EXECUTOR is 'ray', and Ray is not installed; `{INSTALL}` installs it.") from error
    _check(address)
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    try:
        dashboard = False if address == "local" else None  # not ours to say of another
        with said_after(f"Waiting for the Ray cluster {address!r}, which takes some seconds to start."):
            ray.init(address, include_dashboard=dashboard, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, OSError, ray.exceptions.RayError) as error:
        words = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise PmbError(f"The Ray cluster {address!r} cannot be used: {words}") from error
    if in_main and handler is not None:
        signal.signal(signal.SIGTERM, handler)  # Ray's own would end the worker before it gives its runs back
    return RayCluster(ray, settings, command)


def _check(address: str) -> None:
    """Raise PmbError for an address that Ray would try for minutes, or that no worker can use."""
    if address in ("local", "auto"):
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise PmbError(
            f"PMB_RAY_ADDRESS is {address!r}; HOST:PORT of the cluster's head, 'auto' or 'local' is allowed. The "
            "worker itself runs on a machine of the cluster."
        )
    try:
        socket.create_connection((host, int(port)), ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise PmbError(f"No Ray cluster answers at {address} (PMB_RAY_ADDRESS): {error}.") from error
