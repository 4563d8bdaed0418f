"""The store: migrations, shipped results, and faults as sentences."""

from __future__ import annotations

import gc
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Barrier, Timer

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import URL, create_engine, inspect, text
from sqlalchemy.exc import OperationalError

from pmb.catalog.models import MODELS
from pmb.catalog.tasks import TASKS
from pmb.errors import BadInput, PmbError, StoreUnavailable
from pmb.lab import database, pace, queue, schema
from pmb.lab.dev import known_dev_labels, save_dev_labels
from pmb.lab.lengths import known_lengths, save_lengths
from pmb.lab.previews import known_previews, save_preview
from pmb.lab.probes import probes_by_key
from pmb.lab.results import memories_of
from pmb.lab.schema import REVISION
from pmb.lab.store import (
    Store,
    change_mark,
    get_block_scores,
    get_layer_scores,
    get_run,
    list_latencies,
    list_runs,
    open_store,
    save_block_scores,
    save_latencies,
    save_layer_scores,
    save_memory,
    write_shipped,
)
from pmb.scoring import score
from pmb.settings import REPOSITORY, Settings
from pmb.spec import Latency, LengthCounts, Progress
from tests.conftest import fill, result, spec
from tests.layer_results import ask_for_probe, finish_probe, layer_probe
from tests.postgres import Server
from tests.zero_layers import save as save_zero_layers

pytestmark = pytest.mark.both_databases

LATENCY = Latency(1, 32, 32, "test device", 4.0, 3.5, 4.5, 9, 0.4, 0.1)
SCORES = {"model": "m", "model_revision": "1", "task": "t", "task_revision": "1", "sentences": 10}


@pytest.fixture
def elsewhere(settings: Settings, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Settings]:
    """Another home with an empty database of the same kind, and the folder of shipped results that tests write."""
    found = replace(settings, home=tmp_path / "b", shipped=tmp_path / "shipped")
    if not settings.database_url:
        yield found
        return
    server: Server = request.getfixturevalue("postgres")
    yield replace(found, database_url=server.url(server.create()))


def finished(store: Store, score: float = 0.8, seed: int = 0) -> str:
    key = queue.submit(store, [spec(seed=seed)])[0].key
    claim = queue.claim(store, "worker")
    assert claim is not None
    assert queue.finish(store, claim.key, "worker", result(score))
    return key


def test_the_migrations_make_the_schema_that_the_code_describes(store: Store) -> None:
    with store.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []


def test_opening_again_keeps_everything(settings: Settings, store: Store) -> None:
    key = finished(store)
    again = open_store(settings)
    row = get_run(again, key)
    again.close()
    assert row is not None
    assert row["score"] == 0.8
    assert row["predictions"] == [0, 1] * 3000


@pytest.mark.only_sqlite
def test_a_store_of_a_newer_schema_is_left_alone(settings: Settings, store: Store) -> None:
    with sqlite3.connect(settings.home / "lab.sqlite") as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.close()
    with pytest.raises(StoreUnavailable, match=f"schema 9999.*knows up to {REVISION}"):
        open_store(settings)


@pytest.mark.only_sqlite
def test_a_file_that_is_no_database_is_said_to_be_damaged(settings: Settings) -> None:
    settings.home.mkdir()
    (settings.home / "lab.sqlite").write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreUnavailable, match="damaged.*Move it away"):
        open_store(settings)


@pytest.mark.only_sqlite
def test_a_truncated_store_is_said_to_be_damaged(settings: Settings, store: Store) -> None:
    for seed in range(20):
        finished(store, seed=seed)
    with store.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    store.close()
    path = settings.home / "lab.sqlite"
    path.write_bytes(path.read_bytes()[: 4096 * 6 + 100])
    with pytest.raises(StoreUnavailable, match="damaged"):
        list_runs(open_store(settings))


@pytest.mark.only_sqlite
def test_a_new_file_that_many_open_at_the_same_moment_is_locked_for_none(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        for number in range(40):  # of which SQLite itself refuses someone in every fifth
            together = Barrier(4)
            url = URL.create("sqlite", database=str(tmp_path / f"{number}.sqlite"))

            def opened(together: Barrier = together, url: URL = url) -> str:
                engine = database.make_engine(url)
                together.wait()
                with engine.connect() as connection:
                    mode = connection.execute(text("PRAGMA journal_mode")).scalar_one()
                engine.dispose()
                return str(mode)

            assert [each.result() for each in [pool.submit(opened) for _ in range(4)]] == ["wal"] * 4


@pytest.mark.only_sqlite
def test_a_new_file_on_a_full_disk_is_not_waited_for(tiny_disk: Path) -> None:
    fill(tiny_disk)
    engine = database.make_engine(URL.create("sqlite", database=str(tiny_disk / "new.sqlite")))
    began = time.monotonic()
    with pytest.raises(OperationalError, match="full|disk"):
        engine.connect()
    assert time.monotonic() - began < database.BUSY_SECONDS / 4
    engine.dispose()
    gc.collect()  # the connection that was refused holds the file


@pytest.mark.only_sqlite
def test_a_locked_store_is_waited_for_and_then_said_to_be_locked(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.2)
    other = sqlite3.connect(settings.home / "lab.sqlite", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    patient = Store(database.make_engine(store.engine.url))
    try:
        with pytest.raises(StoreUnavailable, match="locked"):
            queue.submit(patient, [spec()])
    finally:
        other.execute("ROLLBACK")
        other.close()
    assert queue.submit(patient, [spec()])[0].state == "queued"
    patient.close()


@pytest.mark.only_sqlite
def test_a_full_disk_is_one_sentence_and_loses_nothing(settings: Settings, store: Store) -> None:
    key = finished(store)
    full = Store(database.make_engine(store.engine.url))
    with full.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreUnavailable, match="disk.*is full"):
        queue.submit(full, [spec(seed=seed) for seed in range(1, 500)])
    full.close()
    assert [row["key"] for row in list_runs(store)] == [key]


@pytest.mark.only_sqlite
def test_a_home_that_cannot_be_made_is_one_sentence(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("")
    with pytest.raises(StoreUnavailable, match="Cannot write into PMB_HOME"):
        open_store(replace(settings, home=tmp_path / "a file" / "home"))


@pytest.mark.only_sqlite
def test_a_database_address_that_makes_no_sense_is_one_sentence(settings: Settings) -> None:
    with pytest.raises(StoreUnavailable, match="PMB_DATABASE_URL"):
        open_store(replace(settings, database_url="nonsense"))


def test_what_is_shipped_comes_back_in_an_empty_store_marked_as_shipped(
    elsewhere: Settings, store: Store, tmp_path: Path
) -> None:
    key = finished(store)
    save_latencies(store, spec(), [LATENCY])
    save_memory(store, key, replace(result(), peak_megabytes=640.5, idle_megabytes=500.0))
    save_layer_scores(store, SCORES, [0.5, 0.6])
    save_block_scores(store, SCORES, {"angular": [[0.1, 0.2]]})
    save_dev_labels(store, TASKS["stsb"], [0.2, 5.0])
    save_preview(store, MODELS["minilm-l6"], TASKS["stsb"], {"kept": [0, 3], "score": 0.5, "computed_on": "cpu"})
    save_zero_layers(store, [0.7])
    save_lengths(store, MODELS["minilm-l6"], TASKS["stsb"], LengthCounts(train=((9, 5749),), dev=((8, 1500),)))
    queue.submit(store, [spec(seed=5)])
    probed = finish_probe(store)
    ask_for_probe(store, seed=1)
    counts = {"runs": 1, "layer_probes": 1, "layer_scores": 1, "dev_labels": 1, "latencies": 1, "memories": 1}
    counts |= {"previews": 1, "block_scores": 1, "zero_layers": 1, "token_lengths": 1}
    assert write_shipped(store, tmp_path / "shipped") == counts
    fresh = open_store(elsewhere)
    row = get_run(fresh, key)
    assert row is not None
    assert (row["source"], row["score"], row["predictions"]) == ("shipped", 0.8, [0, 1] * 3000)
    assert get_layer_scores(fresh, SCORES, 2) == (0.5, 0.6)
    assert get_block_scores(fresh, SCORES, 2) == {"angular": [[0.1, 0.2]]}
    (probe,) = probes_by_key(fresh, [probed])
    assert (probe["source"], probe["state"], probe["similarity"]) == ("shipped", "done", list(layer_probe().similarity))
    assert known_dev_labels(fresh, TASKS["stsb"]) == (0.2, 5.0)
    assert known_lengths(fresh, MODELS["minilm-l6"], TASKS["stsb"]) is not None
    assert known_previews(fresh, MODELS["minilm-l6"], TASKS["stsb"])[0, 3]["source"] == "shipped"
    assert list_latencies(fresh, spec().model, spec().model_revision)[0]["ratio"] == 4.0
    assert [peak["peak_megabytes"] for peak in memories_of(fresh, [row])] == [640.5]
    assert queue.submit(fresh, [spec()])[0].cached
    fresh.close()


def test_a_run_measured_here_wins_over_a_shipped_one(elsewhere: Settings, store: Store) -> None:
    key = finished(store, 0.8)
    mine = open_store(elsewhere)
    finished(mine, 0.7)
    mine.close()
    write_shipped(store, elsewhere.shipped)
    again = open_store(elsewhere)
    row = get_run(again, key)
    again.close()
    assert row is not None
    assert (row["source"], row["score"]) == ("measured", 0.7)


def test_a_shipped_file_that_is_broken_says_how_to_mend_it(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "shipped").mkdir()
    (tmp_path / "shipped" / "runs.jsonl").write_text('{"key": "half a li')
    with pytest.raises(PmbError, match="git checkout"):
        open_store(replace(settings, shipped=tmp_path / "shipped"))


def test_the_mark_changes_with_a_result_and_not_with_progress(store: Store) -> None:
    queue.submit(store, [spec(), spec(seed=1)])
    before = change_mark(store)
    claim = queue.claim(store, "worker")
    assert claim is not None
    assert change_mark(store) == before
    queue.finish(store, claim.key, "worker", result())
    after = change_mark(store)
    assert after != before
    finish_probe(store)
    assert change_mark(store) != after


@pytest.mark.only_sqlite
def test_the_shipped_predictions_and_dev_labels_give_the_shipped_scores(settings: Settings) -> None:
    shipped = open_store(replace(settings, shipped=REPOSITORY / "cache" / "shipped"))
    rows = list_runs(shipped, "done")
    assert {row["task"] for row in rows} >= {"rotten-tomatoes", "sst2", "mrpc", "rte", "cola", "stsb"}
    for row in {row["task"]: row for row in rows}.values():
        run, labels = get_run(shipped, row["key"]), known_dev_labels(shipped, TASKS[row["task"]])
        assert run is not None
        assert labels is not None
        assert score(row["metric"], labels, run["predictions"]).value == pytest.approx(row["score"], abs=1e-4)
    peaks = memories_of(shipped, rows)
    embedded = [row for row in rows if row["task"] == "rotten-tomatoes"]
    assert {tuple(peak["kept_layers"]) for peak in peaks} <= {tuple(row["kept_layers"]) for row in embedded}
    assert len({len(peak["kept_layers"]) for peak in peaks}) >= 3
    assert all(peak["source"] == "shipped" and peak["idle_megabytes"] < peak["peak_megabytes"] for peak in peaks)
    shipped.close()


@pytest.mark.only_sqlite
def test_whether_anything_has_changed_is_answered_by_an_index(store: Store) -> None:
    query = "EXPLAIN QUERY PLAN SELECT count(*), max(finished_at) FROM runs WHERE state = 'done'"
    with store.connect() as connection:
        assert "COVERING INDEX runs_by_end" in str(connection.exec_driver_sql(query).all())


def test_a_text_that_a_database_has_no_place_for_is_kept_with_a_mark_in_its_place(store: Store) -> None:
    key = queue.submit(store, [spec()])[0].key
    claim = queue.claim(store, "worker")
    assert claim is not None
    nothing_finite = Progress("training", 1, 2, float("nan"), float("inf"))
    assert queue.renew(store, key, "worker", nothing_finite) == "go on"
    row = get_run(store, key)
    assert row is not None
    assert (row["progress"]["loss"], row["progress"]["seconds_left"]) == (None, None)
    assert queue.fail(store, key, "worker", "It said \x00.", "\udcff \N{SNOWMAN} \x1b[31m")
    row = get_run(store, key)
    assert row is not None
    assert (row["error"], row["log"]) == ("It said \ufffd.", "\ufffd \N{SNOWMAN} \x1b[31m")
    with pytest.raises(BadInput, match="No run begins"):
        queue.find_key(store, "\x00")


def test_a_model_of_ten_thousand_million_parameters_is_stored(store: Store) -> None:
    key = queue.submit(store, [spec()])[0].key
    claim = queue.claim(store, "worker")
    assert claim is not None
    assert queue.finish(store, key, "worker", replace(result(), whole_model_parameters=10_700_000_000))
    row = get_run(store, key)
    assert row is not None
    assert row["whole_model_parameters"] == 10_700_000_000


def test_processes_that_open_an_empty_store_at_the_same_time_make_one(store: Store, elsewhere: Settings) -> None:
    finished(store)
    write_shipped(store, elsewhere.shipped)
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(lambda _: open_store(elsewhere), range(4)))
    assert [len(list_runs(one)) for one in opened] == [1] * 4
    for one in opened:
        one.close()


def test_a_password_is_in_no_sentence(settings: Settings) -> None:
    with pytest.raises(StoreUnavailable, match=r"does not answer") as refused:
        open_store(replace(settings, database_url="postgres://me:secret@127.0.0.1:1/lab"))
    assert "secret" not in str(refused.value)
    with pytest.raises(StoreUnavailable, match="only postgresql:// and sqlite:///"):
        open_store(replace(settings, database_url="mysql://me:secret@127.0.0.1/lab"))


@pytest.mark.slow
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_server_that_is_started_again_costs_a_worker_nothing(store: Store, postgres: Server) -> None:
    queue.submit(store, [spec()])
    claim = queue.claim(store, "worker")
    assert claim is not None
    postgres.stop()
    with pytest.raises(StoreUnavailable):
        queue.finish(store, claim.key, "worker", result())
    Timer(0.3, postgres.start).start()
    assert pace.patiently(lambda: queue.finish(store, claim.key, "worker", result()))
    assert [row["state"] for row in list_runs(store)] == ["done"]


# =============================================================================
# Databases of other programs
# =============================================================================


@pytest.mark.only_sqlite
@pytest.mark.parametrize("wal", [False, True])
@pytest.mark.parametrize(
    ("tables", "named"),
    [
        (["notes (a)", "tags (b)"], "notes"),
        (["runs (id)"], "runs"),
        (["alembic_version (version_num)", "runs (id)", "users (id)"], "users"),
    ],
)
def test_a_file_of_another_program_is_refused_and_left_as_it_is(
    settings: Settings, tmp_path: Path, tables: list[str], named: str, wal: bool
) -> None:
    path = tmp_path / "their file.db"
    with closing(sqlite3.connect(path)) as theirs:
        if wal:
            theirs.execute("PRAGMA journal_mode = WAL")
        for table in tables:
            theirs.execute(f"CREATE TABLE {table}")
        if "alembic_version (version_num)" in tables:
            theirs.execute("INSERT INTO alembic_version VALUES ('3f2a9c')")
        theirs.commit()
    before = path.read_bytes()
    for read_only in (False, True):
        with pytest.raises(StoreUnavailable, match=f"file of another program .*'{named}'.* left as it is"):
            open_store(replace(settings, database_url=f"sqlite:///{path}", read_only=read_only))
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith("their")] == [path.name]


@pytest.mark.only_sqlite  # which of the two `settings` has makes no difference
def test_a_server_s_database_of_another_program_is_refused_and_left_as_it_is(
    settings: Settings, postgres: Server
) -> None:
    for statements, said in (
        (["CREATE TABLE runs (id int)"], "has a table 'runs' of another program"),
        (
            ["CREATE TABLE alembic_version (version_num text)", "INSERT INTO alembic_version VALUES ('a1b2c3')"],
            "another program's .its schema is 'a1b2c3'",
        ),
    ):
        url = postgres.url(postgres.create())
        engine = create_engine(url)
        with engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
        with pytest.raises(StoreUnavailable, match=said):
            open_store(replace(settings, database_url=url))
        with engine.begin() as connection:
            assert len(inspect(connection).get_table_names()) == 1
        engine.dispose()


@pytest.mark.only_sqlite  # which of the two `settings` has makes no difference
def test_tables_of_other_programs_beside_ours_on_a_server_are_no_fault(settings: Settings, postgres: Server) -> None:
    url = postgres.url(postgres.create())
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE notes (id int)")
    engine.dispose()
    opened = open_store(replace(settings, database_url=url))
    assert list_runs(opened) == []
    opened.close()
