"""Many clients and workers at a time (benchmarks/queue_load.py, smaller): nothing lost or doubled, none starves."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmarks.queue_load import Load, overtaken, put_under_load
from pmb.settings import Settings

pytestmark = pytest.mark.slow


@pytest.mark.both_databases
def test_fifty_clients_and_eight_workers_lose_and_double_nothing(settings: Settings) -> None:
    load = Load(runs=300, client_processes=1, clients_a_process=50, workers=8)
    with ThreadPoolExecutor(load.workers + 1) as pool:
        outcome = put_under_load(settings, load, pool)
    assert outcome.faults == []
    states = [row["state"] for row in outcome.rows]
    assert states.count("done") > 250
    assert states.count("cancelled") > 2


def test_a_run_that_is_overtaken_is_seen() -> None:
    rows = [{"key": "late", "state": "done", "queued_at": 0.0, "started_at": 99.0}]
    rows += [{"key": str(i), "state": "done", "queued_at": 2.0 + i, "started_at": 3.0 + i} for i in range(10)]
    assert len(overtaken(rows, workers=8)) == 1
    assert overtaken(rows[1:], workers=8) == []
