"""A thousand simulated workers before a store whose statements take as long as benchmarks.scale has measured."""

from __future__ import annotations

import heapq
import random
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pmb.lab.pace import BEAT_SECONDS, POLL_SECONDS, RENEW_SECONDS, beat_seconds, poll_seconds, renew_seconds
from pmb.lab.queue import LEASE_SECONDS

RUN_SECONDS = 60.0  # of a simulated run
WORKERS = (10, 30, 100, 300, 1000)
SIMULATED_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds that the store is busy with one statement."""

    poll: float
    claim: float
    renew: float
    finish: float
    beat: float


@dataclass(frozen=True, slots=True)
class Habits:
    """How often workers come: of how many runs and workers, in seconds."""

    renew_seconds: Callable[[int], float]
    poll_seconds: Callable[[int], float]
    beat_seconds: Callable[[int], float]


def one_pace(_: int) -> float:
    """Renewals as often as those of a single run."""
    return RENEW_SECONDS


def one_poll(_: int) -> float:
    """Polls as often as those of a single worker."""
    return POLL_SECONDS


def one_beat(_: int) -> float:
    """Beats as often as those of a single worker."""
    return BEAT_SECONDS


@dataclass(frozen=True, slots=True)
class Load:
    """What a simulation found."""

    utilisation: float
    median_wait: float
    late_renewal: float  # the 99.9th percentile of waits before a renewal; beyond the lease, runs are lost


def simulate(workers: int, busy_share: float, costs: Costs, habits: Habits, servers: int, seed: int = 0) -> Load:
    """Workers before a store that does `servers` statements at a time, first come first served.

    A busy worker renews, and every RUN_SECONDS finishes and claims; an idle one polls; all beat. A worker waits for
    the answer before its next statement of the kind is due, as the real one does.
    """
    rng = random.Random(seed)
    busy = round(workers * busy_share)
    kinds = {
        "renew": (busy, habits.renew_seconds(busy), costs.renew),
        "end": (busy, RUN_SECONDS, costs.finish + costs.claim),
        "poll": (workers - busy, habits.poll_seconds(workers), costs.poll),
        "beat": (workers, habits.beat_seconds(workers), costs.beat),
    }
    due = [(rng.random() * every, kind) for kind, (count, every, _) in kinds.items() for _ in range(count)]
    heapq.heapify(due)
    free = [0.0] * servers
    work, waits, renewals = 0.0, [], []
    while due and due[0][0] < SIMULATED_SECONDS:
        asked, kind = heapq.heappop(due)
        begun = max(asked, heapq.heappop(free))
        ended = begun + rng.expovariate(1 / kinds[kind][2])
        heapq.heappush(free, ended)
        heapq.heappush(due, (ended + kinds[kind][1], kind))
        work += min(ended, SIMULATED_SECONDS) - min(begun, SIMULATED_SECONDS)
        waits.append(begun - asked)
        if kind == "renew":
            renewals.append(begun - asked)
    late = sorted(renewals)[int(len(renewals) * 0.999)] if renewals else 0.0
    return Load(work / SIMULATED_SECONDS / servers, statistics.median(waits), late)


def simulation_lines(name: str, costs: Costs, servers: int) -> Iterator[str]:
    """How the store fares with more and more workers, busy and idle, with the habits of now and with others."""
    ways = {
        f"each as if alone: polls every {POLL_SECONDS:g} s, renews every {RENEW_SECONDS:g} s": Habits(
            one_pace, one_poll, one_beat
        ),
        "as the worker does: the more, the less often": Habits(renew_seconds, poll_seconds, beat_seconds),
    }
    for way, habits in ways.items():
        for share, state in ((1.0, "all busy"), (0.0, "all idle")):
            cells = []
            for workers in WORKERS:
                load = simulate(workers, share, costs, habits, servers)
                late = ", runs lost" if load.late_renewal > LEASE_SECONDS else ""
                cells.append(f"{100 * load.utilisation:.0f} %, {1000 * load.median_wait:.0f} ms{late}")
            yield f"| {name} | {way} | {state} | {' | '.join(cells)} |"
