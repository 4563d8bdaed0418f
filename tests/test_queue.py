"""The queue: one run a key, one holder a run, nothing lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event, update

from pmb.errors import BadInput
from pmb.lab import queue
from pmb.lab.listing import exported
from pmb.lab.schema import runs
from pmb.lab.store import Store, get_run, list_runs
from pmb.spec import Progress
from tests.conftest import result, spec

pytestmark = pytest.mark.both_databases


def state(store: Store, key: str) -> str:
    row = get_run(store, key)
    assert row is not None
    return str(row["state"])


def claimed(store: Store, worker: str = "worker") -> queue.Claim:
    claim = queue.claim(store, worker)
    assert claim is not None
    return claim


def let_lease_run_out(store: Store) -> None:
    with store.connect() as connection:
        connection.execute(update(runs).values(lease_until=time.time() - 1))


def test_a_hundred_clicks_from_many_threads_make_one_run(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: queue.submit(store, [spec()])[0], range(100)))
    assert len(list_runs(store)) == 1
    assert {answer.state for answer in answers} == {"queued"}


def test_many_workers_never_hold_the_same_run(store: Store) -> None:
    queue.submit(store, [spec(seed=seed) for seed in range(40)])
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda i: queue.claim(store, f"worker-{i}"), range(60)))
    held = [claim.key for claim in claims if claim]
    assert len(held) == len(set(held)) == 40


def test_runs_are_claimed_in_the_order_they_were_asked_for(store: Store) -> None:
    keys = [submission.key for submission in queue.submit(store, [spec(seed=s) for s in (3, 1, 2)])]
    assert [claimed(store).key for _ in keys] == keys


def test_a_claim_carries_the_spec(store: Store) -> None:
    queue.submit(store, [spec((0, 2), seed=7)])
    assert claimed(store).spec == spec((0, 2), seed=7)


def test_an_empty_queue_gives_nothing(store: Store) -> None:
    assert queue.claim(store, "worker") is None


def test_a_finished_run_is_cached_when_asked_for_again(store: Store) -> None:
    queue.submit(store, [spec()])
    assert queue.finish(store, claimed(store).key, "worker", result())
    assert queue.submit(store, [spec()])[0].cached


def test_a_run_whose_lease_ran_out_goes_back_and_its_old_holder_is_told(store: Store) -> None:
    queue.submit(store, [spec()])
    claim = claimed(store, "first")
    let_lease_run_out(store)
    queue.release_lost(store)
    assert state(store, claim.key) == "queued"
    claimed(store, "second")
    assert queue.renew(store, claim.key, "first", Progress("training")) == "lost"
    assert not queue.finish(store, claim.key, "first", result(0.1))
    assert queue.finish(store, claim.key, "second", result(0.9))
    row = get_run(store, claim.key)
    assert row is not None
    assert (row["score"], row["attempts"]) == (0.9, 2)


def test_a_run_of_a_dead_neighbour_goes_back_at_once(store: Store) -> None:
    queue.submit(store, [spec()])
    claim = claimed(store, "host:1")
    queue.release_lost(store, ["host:2"])
    assert state(store, claim.key) == "running"
    queue.release_lost(store, ["host:1"])
    assert state(store, claim.key) == "queued"


def test_workers_that_die_are_held_against_no_run_until_it_is_twenty(store: Store) -> None:
    key = queue.submit(store, [spec()])[0].key
    for attempt in range(queue.MAX_ATTEMPTS):
        assert state(store, key) == "queued", attempt
        claimed(store)
        let_lease_run_out(store)
        queue.release_lost(store)
    row = get_run(store, key)
    assert row is not None
    assert (row["state"], row["attempts"], row["deaths"]) == ("failed", 20, 0)
    assert "begun 20 times" in row["error"]
    assert queue.claim(store, "worker") is None


def test_a_run_whose_process_died_goes_behind_the_others_and_waits_longer_each_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, other = (s.key for s in queue.submit(store, [spec(), spec(seed=1)]))
    claim = claimed(store)
    queue.lose(store, claim.key, "worker", "It died.", "last lines")
    row = get_run(store, key)
    assert row is not None
    assert (row["state"], row["error"], row["log"], row["deaths"]) == ("queued", "It died.", "last lines", 1)
    assert (queue.count_waiting(store), queue.count_waiting(store, later=True)) == (1, 2)
    assert claimed(store).key == other
    assert queue.claim(store, "worker") is None
    start = time.time()
    monkeypatch.setattr(Store, "now", lambda *_: start + queue.BACKOFF_SECONDS)
    assert claimed(store).attempts == 2
    queue.lose(store, key, "worker", "It died.", "last lines")
    monkeypatch.setattr(Store, "now", lambda *_: start + 4 * queue.BACKOFF_SECONDS)
    assert queue.claim(store, "worker") is None
    monkeypatch.setattr(Store, "now", lambda *_: start + 6 * queue.BACKOFF_SECONDS)
    assert claimed(store).attempts == 3


def test_a_run_whose_process_dies_again_and_again_fails_with_a_reason_and_its_log(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "BACKOFF_SECONDS", 0.0)
    key = queue.submit(store, [spec()])[0].key
    for _ in range(queue.MAX_DEATHS):
        claimed(store)
        queue.lose(store, key, "worker", "It died.", "last lines")
    row = get_run(store, key)
    assert row is not None
    assert (row["state"], row["attempts"], row["log"]) == ("failed", 5, "last lines")
    assert row["error"] == "It died. It was tried 5 times."
    queue.retry(store, [key])
    again = get_run(store, key)
    assert again is not None
    assert (again["state"], again["deaths"], again["error"]) == ("queued", 0, None)


def test_a_result_is_not_lost_when_its_lease_ran_out_while_the_store_did_not_answer(store: Store) -> None:
    key = queue.submit(store, [spec()])[0].key
    claimed(store)
    let_lease_run_out(store)
    queue.release_lost(store, living="worker")
    assert state(store, key) == "running"
    queue.release_lost(store)
    assert state(store, key) == "queued"
    assert queue.finish(store, key, "worker", result())
    assert not queue.finish(store, key, "worker", result())
    assert (state(store, key), queue.claim(store, "another")) == ("done", None)


def test_a_cancelled_run_whose_process_dies_is_cancelled(store: Store) -> None:
    key = queue.submit(store, [spec()])[0].key
    claimed(store)
    queue.cancel(store, [key])
    queue.lose(store, key, "worker", "It died.", "")
    assert state(store, key) == "cancelled"


@pytest.mark.parametrize("again", ["retry", "submit"])
def test_a_run_asked_for_again_after_cancel_is_not_cancelled(store: Store, again: str) -> None:
    key = queue.submit(store, [spec()])[0].key

    def ask() -> None:
        if again == "retry":
            queue.retry(store, [key])
        else:
            queue.submit(store, [spec()])

    claimed(store)
    queue.cancel(store, [key])
    ask()
    assert queue.renew(store, key, "worker", Progress("training")) == "go on"
    queue.cancel(store, [key])
    assert queue.renew(store, key, "worker", Progress("training")) == "cancel"
    ask()  # while its process is ended
    assert not queue.end_cancelled(store, key, "worker")
    assert state(store, key) == "queued"


def test_a_waiting_run_is_cancelled_at_once(store: Store) -> None:
    key = queue.submit(store, [spec()])[0].key
    queue.cancel(store, [key])
    assert state(store, key) == "cancelled"
    assert queue.claim(store, "worker") is None


def test_a_running_run_is_asked_to_stop_and_stops_even_if_its_worker_dies(store: Store) -> None:
    key = queue.submit(store, [spec()])[0].key
    claimed(store)
    queue.cancel(store, [key])
    assert queue.renew(store, key, "worker", Progress("training")) == "cancel"
    let_lease_run_out(store)
    queue.release_lost(store)
    assert state(store, key) == "cancelled"


def test_a_finished_run_cannot_be_cancelled(store: Store) -> None:
    key = queue.submit(store, [spec()])[0].key
    queue.finish(store, claimed(store).key, "worker", result())
    queue.cancel(store, [key])
    assert state(store, key) == "done"


@pytest.mark.parametrize("again", ["retry", "submit"])
def test_a_failed_run_is_queued_again_by_retry_and_by_asking(store: Store, again: str) -> None:
    key = queue.submit(store, [spec()])[0].key
    queue.fail(store, claimed(store).key, "worker", "It broke.", "last lines")
    assert state(store, key) == "failed"
    if again == "retry":
        queue.retry(store, [key])
    else:
        queue.submit(store, [spec()])
    row = get_run(store, key)
    assert row is not None
    assert (row["state"], row["attempts"], row["error"]) == ("queued", 0, None)


def test_a_run_given_back_keeps_its_place_and_its_attempts(store: Store) -> None:
    first, second = (s.key for s in queue.submit(store, [spec(), spec(seed=1)]))
    claimed(store)
    queue.give_back(store, first, "worker")
    assert queue.waiting_before(store, second) == 1
    assert claimed(store).attempts == 1


def test_a_key_may_be_shortened_but_not_be_ambiguous(store: Store) -> None:
    keys = [s.key for s in queue.submit(store, [spec(seed=s) for s in range(40)])]
    assert queue.find_key(store, keys[0][:12]) == keys[0]
    with pytest.raises(BadInput, match="No run begins with 'xyz'"):
        queue.find_key(store, "xyz")
    with pytest.raises(BadInput, match="More than one run"):
        queue.find_key(store, "")


def test_workers_that_beat_are_listed_and_those_that_signed_off_are_not(store: Store) -> None:
    queue.beat(store, "a")
    queue.beat(store, "b")
    queue.beat(store, "a")
    queue.sign_off(store, "b")
    assert queue.list_workers(store) == ["a"]


# =============================================================================
# A clock that jumps
# =============================================================================

HOUR = 3600.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """By how many seconds the store's clock is wrong, which a test can change."""
    wrong_by = [0.0]
    right = Store.now
    monkeypatch.setattr(Store, "now", lambda *given: right(*given) + wrong_by[0])
    return wrong_by


def test_what_a_worker_wrote_by_a_clock_that_was_ahead_is_not_believed(store: Store, clock: list[float]) -> None:
    (key,) = (s.key for s in queue.submit(store, [spec()]))
    clock[0] = HOUR
    queue.beat(store, "host:1")
    claimed(store, "host:1")
    assert (queue.list_workers(store), queue.crowd(store)) == (["host:1"], (1, 1))
    clock[0] = 0.0  # and the worker was killed meanwhile
    assert (queue.list_workers(store), queue.crowd(store)) == ([], (1, 0))
    queue.release_lost(store)
    assert state(store, key) == "queued"
    assert claimed(store, "host:2").attempts == 2


def test_a_living_worker_is_believed_again_at_its_next_beat(store: Store, clock: list[float]) -> None:
    (key,) = (s.key for s in queue.submit(store, [spec()]))
    clock[0] = HOUR
    queue.beat(store, "host:1")
    held = claimed(store, "host:1")
    clock[0] = -HOUR
    queue.beat(store, "host:1")
    assert queue.renew(store, key, "host:1", Progress("training", 1, 2), held.seconds) == "go on"
    queue.release_lost(store)
    assert (queue.list_workers(store), state(store, key)) == (["host:1"], "running")


def test_clocks_that_differ_by_a_little_are_believed(store: Store, clock: list[float]) -> None:
    (key,) = (s.key for s in queue.submit(store, [spec()]))
    clock[0] = queue.CLOCK_SECONDS - 1
    queue.beat(store, "host:1")
    claimed(store, "host:1")
    clock[0] = 0.0
    queue.release_lost(store)
    assert (queue.list_workers(store), state(store, key)) == (["host:1"], "running")


def test_a_run_that_was_put_off_by_a_clock_that_was_ahead_is_due(store: Store, clock: list[float]) -> None:
    queue.submit(store, [spec()])
    clock[0] = HOUR
    queue.lose(store, claimed(store).key, "worker", "It died.", "")
    assert queue.count_waiting(store) == 0
    clock[0] = 0.0
    assert queue.count_waiting(store) == 1
    assert queue.claim(store, "worker")


@pytest.mark.parametrize("jump", [HOUR, -2 * HOUR])
def test_a_run_took_as_long_as_it_took_whatever_the_clock_did(store: Store, clock: list[float], jump: float) -> None:
    for seed, end in enumerate(("done", "failed")):
        queue.submit(store, [spec(seed=seed)])
        clock[0] = 0.0
        held = claimed(store)
        clock[0] = jump
        queue.renew(store, held.key, "worker", Progress("training", 1, 2), held.seconds)
        row = get_run(store, held.key)
        assert row
        with store.connect() as connection:
            assert 0 <= store.now(connection) - row["started_at"] < HOUR / 2
        if end == "done":
            queue.finish(store, held.key, "worker", result(), held.seconds)
        else:
            queue.fail(store, held.key, "worker", "It broke.", "", held.seconds)
        row = get_run(store, held.key)
        assert row
        assert row["state"] == end
        assert 0 <= exported(row)["seconds"] < HOUR / 2


def test_a_negative_time_of_an_earlier_version_is_not_shown(store: Store) -> None:
    queue.submit(store, [spec()])
    key = claimed(store).key
    queue.finish(store, key, "worker", result())
    with store.connect() as connection:
        connection.execute(update(runs).values(started_at=runs.c.finished_at + HOUR))
    row = get_run(store, key)
    assert row
    assert exported(row)["seconds"] is None


@pytest.mark.parametrize("change", ["find_keys", "cancel", "retry"])
def test_many_runs_at_a_time_take_no_more_statements_than_two(store: Store, change: str) -> None:
    keys = [s.key for s in queue.submit(store, [spec(seed=seed) for seed in range(200)])]
    if change == "retry":
        queue.cancel(store, keys)
    changes: dict[str, Callable[[list[str]], object]] = {
        "find_keys": lambda some: queue.find_keys(store, [key[:20] for key in some]),
        "cancel": lambda some: queue.cancel(store, some),
        "retry": lambda some: queue.retry(store, some),
    }
    asked: list[str] = []
    event.listen(store.engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    changes[change](keys[:2])
    few = len(asked)
    changes[change](keys[2:])
    assert 0 < len(asked) - few <= few
    assert {row["state"] for row in list_runs(store)} == {"cancelled" if change == "cancel" else "queued"}


def test_a_prefix_of_no_run_or_of_several_is_refused_among_many(store: Store) -> None:
    keys = [s.key for s in queue.submit(store, [spec(seed=seed) for seed in range(40)])]
    assert queue.find_keys(store, [keys[3], keys[5][:16], keys[3]]) == [keys[3], keys[5], keys[3]]
    first = next(key[0] for key in keys if sum(other[0] == key[0] for other in keys) > 1)
    with pytest.raises(BadInput, match=f"More than one run begins with '{first}'"):
        queue.find_keys(store, [keys[3], first])
    for missing in ("", "no such run", "%"):
        with pytest.raises(BadInput, match="No run|More than one run"):
            queue.find_keys(store, [keys[3], missing])


def test_runs_that_are_retried_together_keep_their_order(store: Store) -> None:
    keys = [s.key for s in queue.submit(store, [spec(seed=seed) for seed in range(5)])]
    queue.cancel(store, keys)
    order = [keys[place] for place in (3, 0, 4, 1, 2)]
    queue.retry(store, order)
    assert [claimed(store).key for _ in order] == order
