"""Running a job in a child process: start it, listen to it, kill it."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

from pmb.errors import RunFailed
from pmb.settings import REPOSITORY

LOG_LINES = 200
KILL_SECONDS = 1.0  # between asking a child to end and killing it

# glibc gives big freed blocks back to the system and takes them anew with every tensor; keeping them saves the page
# faults and changes no number. Elsewhere the variables mean nothing.
CHILD_ENVIRONMENT = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**36),
    "MALLOC_TOP_PAD_": str(2**28),
    # OpenMP's threads spin while they wait; with other work on the cores, long spins take the
    # time that the thread they wait for needs.
    "GOMP_SPINCOUNT": "3000",
    "TOKENIZERS_PARALLELISM": "false",
}

CHILD_COMMAND = (sys.executable, "-m", "pmb.lab.child")

Message = dict[str, Any]


class ChildDied(RunFailed):
    """The process ended without an answer."""


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
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self._threads = [threading.Thread(target=target, daemon=True) for target in (self._listen, self._drain)]
        for thread in self._threads:
            thread.start()

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.poll() is None

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
        try:
            message = self._messages.get(timeout=timeout_seconds)
        except queue.Empty:
            return None
        if message is None:
            code = self.process.wait()
            reason = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
            raise ChildDied(f"The process of this run died ({reason}); perhaps it ran out of memory.")
        return message

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
                self._messages.put(json.loads(line))
        self._messages.put(None)

    def _drain(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._log.append(line)


def ask(job: Message) -> Message:
    """Do one job in a child and wait for its answer; raises RunFailed with the child's sentence."""
    child = Child()
    try:
        child.send(job)
        while True:
            message = child.receive(None)
            if message is not None and "error" in message:
                raise RunFailed(message["error"])
            if message is not None and "progress" not in message:
                return message
    finally:
        child.end()
