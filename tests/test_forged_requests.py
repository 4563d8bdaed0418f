"""A client that says by hand what no page offers it: a real server obeys only who may run, whatever it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from pmb.lab import queue
from pmb.lab.store import Store, list_runs
from tests.conftest import spec
from tests.postgres import free_port
from tests.server import keep_secrets, page_server
from tests.test_read_only import CHANGE, contents
from tests.visits import visit

pytestmark = pytest.mark.slow

ALICE, BOB = "alice@lab.org", "bob@lab.org"


def test_presses_forged_over_the_websocket_are_heard_from_those_alone_who_may_run(store: Store, tmp_path: Path) -> None:
    failed, waiting = (one.key for one in queue.submit(store, [spec(seed=1), spec(seed=2)]))
    assert queue.claim(store, "worker")
    queue.fail(store, failed, "worker", "It broke.", "")
    before = contents(store)
    port = free_port()
    keep_secrets(tmp_path, f"http://127.0.0.1:{port}", "the-lab", "http://127.0.0.1:1/nobody")
    wanted = {"": ["run"], "runs": [f"cancel-{waiting}", f"retry-{failed}"]}
    with (
        page_server(port, tmp_path, HOME=str(tmp_path), PMB_RUNNERS=ALICE) as lab,
        page_server(free_port(), tmp_path, PMB_READ_ONLY="1") as demo,
    ):
        presses: dict[str, list[str]] = {}
        for page, keys in wanted.items():
            with visit(lab, page, ALICE) as seen:
                presses[page] = [seen.buttons[key] for key in keys]
        for page, names in presses.items():
            for url, address in ((demo, ""), (lab, ""), (lab, BOB)):
                with visit(url, page, address) as forger:
                    assert not [key for key in forger.buttons if key.startswith(CHANGE)]
                    for name in names:
                        forger.rerun([name])
                assert contents(store) == before, (url, address, page)
        for page, names in presses.items():  # the very same messages from one who may
            with visit(lab, page, ALICE) as runner:
                for name in names:
                    runner.rerun([name])
    after = {row["key"]: row["state"] for row in list_runs(store)}
    assert (after[waiting], after[failed]) == ("cancelled", "queued")
    assert [row["started_by"] for row in list_runs(store) if row["recipe"] == "full"] == [ALICE] * 2
