"""Running a job in a child process: start it, listen to it, kill it.

The worker knows an Executor and its Handles: Spares and Child of this machine, or those of a Ray cluster.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pmb.bounds import LOOK_MEGABYTES, LOOK_MEGABYTES_A_MEGABYTE, LOOK_SECONDS, LOOK_SECONDS_A_MEGABYTE
from pmb.errors import RunFailed
from pmb.lab.child import LIGHT, LIGHT_KINDS, WAITED_FOR
from pmb.lab.silence import said_after
from pmb.settings import REPOSITORY, cores
from pmb.spec import Progress, Report

LOG_LINES = 200
KILLED = 9  # the signal that a process cannot answer
MEMORY_LOOKS = 10  # so many of the last; its death gives back what the child held
WAITING = "Waiting for the process that reads models and data; where others compute, its start takes a while."
KILL_SECONDS = 1.0  # between asking a child to end and killing it
WATCH_SECONDS = 0.1  # between two looks at what a child with limits holds

# glibc gives big freed blocks back to the system and takes them anew with every tensor; keeping them saves the page
# faults and changes no number. Elsewhere the variables mean nothing.
CHILD_ENVIRONMENT = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**36),
    "MALLOC_TOP_PAD_": str(2**28),
    # OpenMP's threads spin while they wait; with other work on the cores, long spins take the
    # time that the thread they wait for needs.
    "GOMP_SPINCOUNT": "30000",
    # Those of numpy's OpenBLAS spin too, some 0.1 s after each small classifier; one fits it in less time.
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}

CHILD_COMMAND = (sys.executable, "-m", "pmb.lab.child")

Message = dict[str, Any]


class ChildDied(RunFailed):
    """The process ended without an answer."""


class NodeDied(RunFailed):
    """The machine of the process died, or what holds it there: nothing that the run did."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that a child may hold of memory and take of time for its job."""

    megabytes: float
    seconds: float


def look_limits(files: Iterable[Path]) -> Limits:
    """The limits of a look into files of a stranger, which may turn out to be large only once they are read."""
    megabytes = 0.0
    for path in files:
        with contextlib.suppress(OSError):  # it is gone, as the child will say
            megabytes += path.stat().st_size / 1e6
    return Limits(
        LOOK_MEGABYTES + LOOK_MEGABYTES_A_MEGABYTE * megabytes, LOOK_SECONDS + LOOK_SECONDS_A_MEGABYTE * megabytes
    )


class Handle(Protocol):
    """One child process, here or on another machine, and the job that it does."""

    @property
    def device(self) -> str | None:
        """What it computes on, where that is known before its job."""

    def ready(self, timeout_seconds: float | None) -> bool:
        """Whether it takes its job at once, or is dead, within that time."""

    def send(self, job: Message) -> None:
        """Hand over the job."""

    def receive(self, timeout_seconds: float | None) -> Message | None:
        """The next message; None when the time is over; raises ChildDied, NodeDied."""

    def log(self) -> str:
        """The last lines that it wrote to stderr, as far as they are known here."""

    def end(self) -> None:
        """Make sure that the process is gone."""


class Executor(Protocol):
    """Where children run, and how many at a time."""

    def most(self) -> int:
        """How many runs fit now."""

    def threads(self, together: int) -> int:
        """How many threads each of so many runs may have."""

    def warm_up_for(self, job: Message) -> None:
        """Warm up the children to come for this."""

    def prepare(self) -> None:
        """A child will be wanted soon."""

    def keep_one(self) -> Handle:
        """The child that the next `take` gives, still the executor's."""

    def take(self) -> Handle:
        """A child, now the caller's to end."""

    def end(self) -> None:
        """End what is not taken."""


class Child:
    """One child process; it may be started before its job is known."""

    def __init__(self, command: Sequence[str] = CHILD_COMMAND) -> None:
        """Start the process."""
        self.process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env=os.environ | CHILD_ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # Ctrl-C reaches the parent alone, which gives the run back
        )
        self._messages: queue.Queue[Message | None] = queue.Queue()
        self._device: str | None = None
        self._free_bytes: deque[int] = deque(maxlen=MEMORY_LOOKS)
        self._ready = threading.Event()  # its imports are done, or it is dead
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self._threads = [threading.Thread(target=target, daemon=True) for target in (self._listen, self._drain)]
        for thread in self._threads:
            thread.start()

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.poll() is None

    def ready(self, timeout_seconds: float | None) -> bool:
        """Whether its imports are done, or it is dead, within that time."""
        return self._ready.wait(timeout_seconds)

    @property
    def device(self) -> str | None:
        """What it computes on, once it is ready; None when it died before."""
        return self._device

    def send(self, job: Message) -> None:
        """Hand over the job; a child that is dead already shows it at the next `receive`."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(job) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            self._messages.put(None)

    def receive(self, timeout_seconds: float | None) -> Message | None:
        """The next message; None when the time is over; raises ChildDied."""
        self._note_memory()
        try:
            message = self._messages.get(timeout=timeout_seconds)
        except queue.Empty:
            return None
        if message is None:
            code = self.process.wait()
            reason = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
            more = self._memory_words() if code == -KILLED else self._last_words() if code > 0 else ""
            raise ChildDied(f"The process of this run died ({reason}){more}.")
        return message

    def _note_memory(self) -> None:
        """Remember how much memory was free: a process that the system kills for want of it cannot say so."""
        from pmb.machine import free_memory  # time to import that a cached answer needs not take

        self._free_bytes.append(free_memory())

    def _memory_words(self) -> str:
        return (
            f", perhaps for want of memory: {min(self._free_bytes) / 1e9:.1f} GB were free shortly before; a smaller "
            "batch size or length, or fewer runs at a time (PMB_JOBS=1), take less"
        )

    def _last_words(self) -> str:
        """The exception that ended it, which Python has written to stderr."""
        self._threads[1].join(KILL_SECONDS)
        lines = self.log().strip().splitlines()
        return f": {lines[-1].rstrip('.')}" if lines else ""

    def ask(self, job: Message, report: Report, limits: Limits | None = None) -> Message:
        """Do one job, wait for its answer and end; raises RunFailed with the child's sentence."""
        try:
            return self.answer(job, report, limits)
        finally:
            self.end()

    def answer(self, job: Message, report: Report = lambda _: None, limits: Limits | None = None) -> Message:
        """Do one job and wait for its answer; raises RunFailed with the child's sentence, or where it goes too far."""
        self.send(job)
        start = time.monotonic()
        with said_after(WAITING) as wait:
            while True:
                message = self.receive(WATCH_SECONDS if limits else None)
                if limits and not self._ready.is_set():
                    start = time.monotonic()  # the time of imports is none of its own
                if message is None:
                    assert limits  # else there is no time limit
                    self._check(limits, time.monotonic() - start)
                    continue
                wait.again()
                if "error" in message:
                    raise RunFailed(message["error"])
                if "progress" not in message:
                    return message
                report(Progress(**message["progress"]))

    def _check(self, limits: Limits, seconds: float) -> None:
        """Kill the process and raise RunFailed where it holds or takes too much."""
        import psutil  # time to import that a cached answer needs not take

        try:
            megabytes = psutil.Process(self.process.pid).memory_info().rss / 1e6
        except psutil.Error:  # it has ended
            return
        if megabytes > limits.megabytes or seconds > limits.seconds:
            self.process.kill()
            if megabytes > limits.megabytes:
                raise RunFailed(f"Reading it took more than {limits.megabytes:,.0f} MB of memory and was stopped.")
            raise RunFailed(f"Reading it took longer than {limits.seconds:.0f} s and was stopped.")

    def log(self) -> str:
        """The last lines that the child wrote to stderr."""
        return "".join(self._log)

    def end(self) -> None:
        """Make sure that the process is gone."""
        self.process.terminate()
        try:
            self.process.wait(KILL_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for thread in self._threads:
            thread.join()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):  # a job that the dead child did not read
                pipe.close()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        # A child killed while it writes leaves half a line.
        with contextlib.suppress(json.JSONDecodeError):
            for line in self.process.stdout:
                message = json.loads(line)
                if "device" in message:
                    self._device = message["device"]
                    self._ready.set()
                else:
                    self._messages.put(message)
        self._messages.put(None)
        self._ready.set()

    def _drain(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._log.append(line)


class Spares:
    """Children started ahead of their jobs, so that their imports (seconds) cost nobody anything."""

    def __init__(self, most: int, warm_up: Message) -> None:
        """Hold none yet, and never more than `most`; each is given the job `warm_up` first."""
        self._most, self._warm_up = most, warm_up
        self._lock = threading.Lock()
        self._children: list[Child] = []

    def most(self) -> int:
        """As many as it was told."""
        return self._most

    def threads(self, together: int) -> int:
        """An equal part of the cores for each."""
        return max(1, cores() // together)

    def prepare(self) -> None:
        """Start one more."""
        with self._lock:
            if len(self._children) < self._most:
                self._children.append(self._start())

    def keep_one(self) -> Child:
        """Hold exactly one that is alive, and show it."""
        with self._lock:
            *others, one = [c for c in self._children if c.alive] or [self._start()]
            gone = [*others, *(c for c in self._children if not c.alive)]
            self._children = [one]
        for child in gone:
            child.end()
        return one

    def take(self) -> Child:
        """One that is alive, now the caller's to end; a new one where there is none."""
        with self._lock:
            gone = [c for c in self._children if not c.alive]
            living = [c for c in self._children if c.alive]
            taken = living.pop(0) if living else Child()
            self._children = living
        for child in gone:
            child.end()
        return taken

    def warm_up_for(self, job: Message) -> None:
        """Warm up the children to come for this."""
        self._warm_up = job

    def _start(self) -> Child:
        child = Child()
        child.send(self._warm_up)
        return child

    def end(self) -> None:
        """End all of them."""
        with self._lock:
            gone, self._children = self._children, []
        for child in gone:
            child.end()


def ask(job: Message, report: Report = lambda _: None, limits: Limits | None = None) -> Message:
    """Do one job, that somebody waits for, in a new child; raises RunFailed with the child's sentence."""
    light = [LIGHT] if job["kind"] in LIGHT_KINDS else []
    return Child([*CHILD_COMMAND, WAITED_FOR, *light]).ask(job, report, limits)
