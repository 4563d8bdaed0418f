"""Who may only look: nothing is written at any depth, no control for it is drawn, and a forged one is not heard."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from sqlalchemy import update

from pmb.catalog.models import MODELS
from pmb.catalog.tasks import TASKS
from pmb.errors import BadInput, NotAllowed, PmbError, QueueFull, StoreUnavailable
from pmb.lab import dev, previews, probes, queue, sources, uploads
from pmb.lab.plan import layer_scores, scores_identity
from pmb.lab.schema import runs
from pmb.lab.store import READ_ONLY, Row, Store, list_runs, open_store, save_layer_scores
from pmb.lab.worker import work
from pmb.screen import ui, visitors
from pmb.settings import REPOSITORY, Settings, from_environment
from tests.app import FULL, TOP_2, WHOLE, click, fill, finish, opened, rerun, words
from tests.conftest import spec
from tests.layer_results import ask_for_probe
from tests.test_cli import pmb

CHANGE = (
    "run",
    "more_seeds",
    "cancel",
    "retry",
    "measure",
    "preview",
    "queue_",
    "your_table",
    "use_table",
    "take_make",
    "take_cancel",
    "try_make",
)
SIGN = ("sign", *CHANGE)
# What somebody is told to do who may run and change things.
TELLS = re.compile(
    r"[Pp]ress |Retry|cancel or retry|on Explore|Explore (runs|starts)|Layers measures|pmb (run|sweep|probe|worker)\b"
)
MODEL, TASK = MODELS["minilm-l6"], TASKS["rotten-tomatoes"]
WRITES: dict[str, Callable[[Store, Settings], object]] = {
    "ask for a run": lambda store, _: queue.submit(store, [spec(seed=9)]),
    "cancel": lambda store, _: queue.cancel(store, [spec().key]),
    "retry": lambda store, _: queue.retry(store, [spec().key]),
    "claim": lambda store, _: queue.claim(store, "worker"),
    "ask for layers": lambda store, found: probes.ask_for(store, found, MODEL, TASK, "quick", [0]),
    "preview": lambda store, found: previews.preview(store, found, MODEL, TASK, ["top"]),
    "take layers back": lambda store, _: probes.cancel(store, ["x"]),
    "upload": lambda store, found: uploads.keep(store, found, "a.csv", b"text,label\n"),
    "measure layers": lambda store, found: layer_scores(store, found, MODEL, TASK),
    "read dev labels": lambda store, found: dev.dev_labels(store, found, TASK),
    "pin a model of the Hub": lambda store, found: sources.find_model(store, found, "owner/model"),
    "save scores": lambda store, _: save_layer_scores(store, scores_identity(spec()), [0.5]),
}


def contents(store: Store) -> list[Row]:
    return list_runs(store) + probes.asked_probes(store)


@pytest.mark.both_databases
def test_nothing_that_writes_is_done_for_who_may_only_look(store: Store, settings: Settings) -> None:
    queue.submit(store, [spec()])
    ask_for_probe(store)
    before = contents(store)
    reader = store.reader("You may look.")
    for what, write in WRITES.items():
        with pytest.raises(NotAllowed, match="You may look"):
            write(reader, settings)
        assert contents(store) == before, what
    with pytest.raises(NotAllowed), reader.connect() as connection:
        connection.execute(update(runs).values(state="done"))
    assert contents(reader) == before
    reader.close()
    assert not (settings.home / "uploads").exists()


def test_what_is_cached_is_answered_without_writing(store: Store) -> None:
    finish(store, spec(), 0.8)
    assert queue.submit(store.reader("You may look."), [spec()])[0].cached


def test_a_lab_without_a_store_shows_what_is_shipped_and_leaves_its_home_alone(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PMB_SHIPPED")
    monkeypatch.setenv("PMB_READ_ONLY", "1")
    shown = open_store(from_environment())
    assert list_runs(shown, "done")
    with pytest.raises(NotAllowed, match="PMB_READ_ONLY"):
        queue.submit(shown, [spec(seed=77)])
    shown.close()
    assert not settings.home.exists()


def test_a_store_is_shown_as_it_is_even_where_its_folder_cannot_be_written(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(store, spec(), 0.8)
    store.close()
    before = sorted(path.name for path in settings.home.iterdir())
    monkeypatch.setattr("os.access", lambda *_: False)
    shown = open_store(replace(settings, read_only=True))
    assert [row["score"] for row in list_runs(shown)] == [0.8]
    shown.close()
    assert sorted(path.name for path in settings.home.iterdir()) == before


# The other user, who looks at the store each time that a line comes and says how many runs have ended.
LOOKER = """
import os, sys
from pmb.errors import PmbError
from pmb.lab.store import list_runs, open_store
from pmb.settings import from_environment
import sqlalchemy.dialects.sqlite.pysqlite  # before the libraries' folder is out of reach
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
shown = open_store(from_environment())
for _ in sys.stdin:
    try:
        print(len(list_runs(shown, "done")), flush=True)
    except PmbError as error:
        print(error, flush=True)
"""


@pytest.fixture
def open_home(tmp_path: Path) -> Iterator[Path]:
    """A home that everybody can look into and nobody but its owner can write."""
    home = Path(tempfile.mkdtemp())
    yield home
    home.chmod(0o755)
    shutil.rmtree(home)


@contextmanager
def another_user(home: Path) -> Iterator[Callable[[], str]]:
    """A process of one who cannot write into the home: gives what it sees at each call."""
    environment = os.environ | {"PMB_HOME": str(home), "PMB_READ_ONLY": "1"}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", LOOKER], cwd=REPOSITORY, env=environment, **pipes)

    def look() -> str:
        assert process.stdin
        assert process.stdout
        process.stdin.write("\n")
        process.stdin.flush()
        return str(process.stdout.readline().strip())

    try:
        yield look
    finally:
        process.communicate()


@pytest.mark.skipif(not hasattr(os, "setuid"), reason="Windows has no such users")
def test_another_user_who_can_write_nothing_sees_each_new_run_of_a_living_store(
    settings: Settings, empty_file: Path, open_home: Path
) -> None:
    file = open_home / "lab.sqlite"
    shutil.copy(empty_file, file)
    file.chmod(0o644)
    writer = open_store(replace(settings, home=open_home))
    finish(writer, spec(), 0.8)
    open_home.chmod(0o555)
    files = {path.name: path.stat().st_uid for path in open_home.iterdir()}
    with another_user(open_home) as look:
        assert look() == "1"  # while it is written
        finish(writer, spec(seed=1), 0.8)
        assert look() == "2"
        open_home.chmod(0o755)
        writer.close()  # its last connection takes the log along
        assert not (open_home / "lab.sqlite-wal").exists()
        open_home.chmod(0o555)
        assert look() == "2"
        open_home.chmod(0o755)
        again = open_store(replace(settings, home=open_home))
        finish(again, spec(seed=2), 0.8)
        assert look() == "3"
        for seed in range(3, 40):  # while it is written again and again, and the log is begun anew
            finish(again, spec(seed=seed), 0.8)
            if seed % 10 == 0:
                with again.connect() as connection:
                    connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            assert look() == str(seed + 1)
        finish(again, spec(seed=40), 0.8)
        whole, log = file.read_bytes(), (open_home / "lab.sqlite-wal").read_bytes()
        again.close()
        file.write_bytes(whole)  # as a writer leaves it that was killed, on a machine that was started again since
        (open_home / "lab.sqlite-wal").write_bytes(log)
        assert look() == "41"
    assert {path.stat().st_uid for path in open_home.iterdir()} == set(files.values())


def test_a_store_and_uploads_are_for_their_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        found = Settings(tmp_path / "home", "", "local", tmp_path / "nothing", None)
        store = open_store(found)
        finish(store, spec(), 0.8)
        path = uploads.keep(store, found, "reviews.csv", b"text,label\na,b\n")
        modes = {name: (found.home / name).stat().st_mode & 0o777 for name in ("", "uploads", "lab.sqlite")}
        assert modes == {"": 0o700, "uploads": 0o700, "lab.sqlite": 0o600}
        assert {one.stat().st_mode & 0o777 for one in found.home.glob("lab.sqlite-*")} == {0o600}
        assert path.stat().st_mode & 0o777 == 0o600
        store.close()
    finally:
        os.umask(before)


def test_a_store_of_another_schema_has_to_be_opened_once_to_be_written(settings: Settings, empty_file: Path) -> None:
    settings.home.mkdir()
    shutil.copy(empty_file, settings.home / "lab.sqlite")
    older = open_store(settings)
    with older.connect() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    older.close()
    with pytest.raises(StoreUnavailable, match="schema 0001.*without PMB_READ_ONLY"):
        open_store(replace(settings, read_only=True))


def test_no_worker_works_and_no_command_changes_anything(settings: Settings, store: Store) -> None:
    finish(store, spec(), 0.8)
    key = queue.submit(store, [spec(seed=1)])[0].key
    for arguments in (("worker", "--once"), ("cancel", key[:12]), ("run", "--drop", "0", "--seed", "5")):
        ended = pmb(settings, *arguments, PMB_READ_ONLY="1")
        assert (ended.returncode, ended.stderr) == (2, f"Error: {READ_ONLY}\n")
    assert "2 runs" in pmb(settings, "runs", PMB_READ_ONLY="1").stderr
    assert [row["state"] for row in list_runs(store)] == ["done", "queued"]
    with pytest.raises(NotAllowed):
        work(store.reader("You may look."), settings, None)  # type: ignore[arg-type]


def test_more_than_may_wait_are_refused_whole(store: Store) -> None:
    small = replace(store, most_waiting=3)
    queue.submit(small, [spec(seed=seed) for seed in range(2)])
    with pytest.raises(QueueFull, match="2 runs wait already and 2 more were asked for; at most 3"):
        queue.submit(small, [spec(seed=seed) for seed in range(4)])
    assert len(list_runs(store)) == 2
    assert [s.state for s in queue.submit(small, [spec(seed=seed) for seed in range(3)])] == ["queued"] * 3
    assert queue.submit(replace(store, most_waiting=1), [spec()])[0].state == "queued"


@pytest.mark.parametrize(("name", "value"), [("READ_ONLY", "yes"), ("QUEUE_LIMIT", "0"), ("RUNNERS", "alice")])
def test_a_setting_that_cannot_be_is_refused(settings: Settings, name: str, value: str) -> None:
    ended = pmb(settings, "runs", **{f"PMB_{name}": value})
    assert ended.returncode == 2
    assert value in ended.stderr


def test_files_beside_the_home_are_named_by_command_alone_where_others_reach_the_page(
    settings: Settings, store: Store, tmp_path: Path
) -> None:
    others = replace(settings, confined=True)
    (tmp_path / "there.csv").write_text("text,label\n")
    link = settings.home / "link.csv"
    link.symlink_to(tmp_path / "there.csv")
    for name in ("there.csv", "not there.csv", "home/../there.csv"):
        with pytest.raises(NotAllowed, match="lies outside of"):
            sources.find_task(store, others, f"csv:{tmp_path / name}")
    with pytest.raises(NotAllowed, match="lies outside of"):
        sources.find_task(store, others, f"csv:{link}")
    with pytest.raises(NotAllowed, match="lies outside of"):
        sources.find_model(store, others, "/etc")
    with pytest.raises(BadInput, match="is not there"):
        sources.find_task(store, others, f"csv:{settings.home / 'x.csv'}")


def test_who_started_a_run_is_kept_until_another_starts_it_again(store: Store) -> None:
    alice, bob = replace(store, user="alice@lab.org"), replace(store, user="bob@lab.org")
    queue.submit(alice, [spec(), spec(seed=1)])
    queue.submit(bob, [spec()])
    queue.cancel(alice, [spec(seed=1).key])
    queue.retry(bob, [spec(seed=1).key])
    assert [row["started_by"] for row in list_runs(store)] == ["alice@lab.org", "bob@lab.org"]


# The page


@pytest.fixture
def may_only_look(scored: Store, monkeypatch: pytest.MonkeyPatch, content_streamlit: None) -> Store:
    """A lab with results, a run that waits and one that failed, opened with PMB_READ_ONLY."""
    fill(scored)
    queue.submit(scored, [spec(TOP_2, 7, FULL), spec((0, 1), 8, FULL)])
    claim = queue.claim(scored, "worker")
    assert claim is not None
    queue.fail(scored, claim.key, "worker", "It broke.", "")
    monkeypatch.setenv("PMB_READ_ONLY", "1")
    return scored


@pytest.mark.slow
def test_no_page_has_a_control_that_writes(may_only_look: Store) -> None:
    before = contents(may_only_look)
    for page in ("", "strategies", "tasks", "cost", "layers", "paper", "compare", "runs"):
        app = opened(page)
        assert [b.key for b in app.button if str(b.key).startswith(CHANGE)] == [], page
        assert "only shows results" in words(app)
        assert not TELLS.search(words(app)), page
    failed = next(row["key"] for row in before if row["state"] == "failed")
    app = opened("runs", run=failed[:12])
    assert "It failed." in words(app)
    assert not TELLS.search(words(app))
    assert contents(may_only_look) == before


@pytest.mark.slow
def test_nobody_is_told_to_do_what_he_may_not(
    scored: Store, monkeypatch: pytest.MonkeyPatch, content_streamlit: None
) -> None:
    """In a lab in which nothing was measured; whoever may run things there is told how."""
    told = {page: TELLS.search(words(opened(page))) for page in ("", "cost", "layers", "compare", "runs")}
    assert all(told.values()), told
    monkeypatch.setenv("PMB_READ_ONLY", "1")
    st.cache_resource.clear()
    for page in ("", "strategies", "tasks", "cost", "layers", "paper", "compare", "runs"):
        assert not TELLS.search(words(opened(page))), page
    app = opened()
    for _ in range(3):
        assert not TELLS.search(words(app))
        click(app, "tour_next")


@pytest.mark.slow
def test_a_request_forged_for_a_control_that_is_not_drawn_changes_nothing(may_only_look: Store) -> None:
    before = contents(may_only_look)
    writer = opened("runs")
    key = next(row["key"] for row in before if row["state"] == "failed")
    for page, forged in (("", "run"), ("", "your_table"), ("runs", f"retry-{key}")):
        app = opened(page)
        app.session_state
        states = app._tree.get_widget_states()
        fake = states.widgets.add()
        fake.id, fake.trigger_value = f"$$ID-00000000000000000000000000000000-{forged}", True
        app._run(states)
        assert not app.exception
    assert writer
    assert contents(may_only_look) == before


@pytest.mark.slow
def test_a_button_that_should_not_have_been_drawn_is_refused_by_the_lab(
    may_only_look: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(may_only_look)
    monkeypatch.setattr(ui, "may_write", lambda: True)
    app = opened()
    app.button(key="more_seeds").click()
    rerun(app)
    assert "only shows results" in words(app)
    assert contents(may_only_look) == before


# Sign-in


def test_who_is_named_may_run() -> None:
    found = Settings(Path(), "", "local", Path(), None, runners=("alice@lab.org", "@team.org"))
    named = {address: visitors.may_run(found, address) for address in ("alice@lab.org", "bob@team.org")}
    assert all(named.values())
    for address in ("", "bob@lab.org", "alice@lab.org.evil.org", "x@not-team.org", "team.org", "@team.org@evil.org"):
        assert not visitors.may_run(found, address), address
    assert visitors.may_run(replace(found, runners=("*",)), "")
    assert not visitors.may_run(replace(found, runners=()), "alice@lab.org")


@pytest.mark.slow
def test_a_visitor_may_look_and_a_runner_may_run_and_is_kept_with_the_run(
    scored: Store, monkeypatch: pytest.MonkeyPatch, content_streamlit: None
) -> None:
    monkeypatch.setenv("PMB_RUNNERS", "Alice@lab.org")
    monkeypatch.setattr(visitors, "sign_in_is_set_up", lambda: True)
    monkeypatch.setattr(visitors, "providers", lambda: ["", "company"])
    fill(scored)
    app = opened()
    app.user = {"is_logged_in": False}
    rerun(app)
    assert {b.key for b in app.button if str(b.key).startswith(SIGN)} == {"sign_in_", "sign_in_company"}
    assert visitors.NOT_SIGNED_IN in words(app)
    app.user = {"is_logged_in": True, "email": "bob@lab.org", "name": "**Bob**"}
    rerun(app)
    assert {b.key for b in app.button if str(b.key).startswith(SIGN)} == {"sign_out"}
    app.user = {"is_logged_in": True, "email": "alice@lab.org", "email_verified": False}
    rerun(app)
    assert {b.key for b in app.button if str(b.key).startswith(SIGN)} == {"sign_out"}
    app.user = {"is_logged_in": True, "email": "alice@lab.org", "email_verified": True}
    rerun(app)
    app.button(key="more_seeds").click()
    rerun(app)
    waiting = list_runs(scored, "queued")
    assert {(tuple(row["kept_layers"]), row["started_by"]) for row in waiting} == {
        (TOP_2, "alice@lab.org"),
        (WHOLE, "alice@lab.org"),
    }
    assert "alice@lab.org" in {str(value) for value in opened("runs", states="queued").dataframe[0].value["started by"]}


def test_a_database_that_does_not_answer_is_a_sentence_for_readers_too(settings: Settings) -> None:
    with pytest.raises(PmbError):
        open_store(replace(settings, read_only=True, database_url="postgresql://127.0.0.1:1/lab"))


@pytest.mark.parametrize(
    ("sentence", "seen"),
    [
        (
            "The store {home}/lab.sqlite is damaged (disk image).",
            "The store PMB_HOME/lab.sqlite is damaged (disk image).",
        ),
        ("Cannot write into PMB_HOME {home}: No space.", "Cannot write into PMB_HOME: No space."),
        ("csv:{home}/uploads/1a/reviews.csv is not there.", "csv:PMB_HOME/uploads/1a/reviews.csv is not there."),
        ("{home}age/notes/x.csv is not there.", "x.csv is not there."),
        ("The model '/data/no such place/bert' is not there.", "The model 'bert' is not there."),
        ('File "/opt/python/lib/run.py", line 3, in /srv/a/b: no', 'File "run.py", line 3, in b: no'),
        (r"D:\models\bert cannot be read", "bert cannot be read"),
        ("The store sqlite:////var/lib/lab.sqlite: 1 done", "The store lab.sqlite: 1 done"),
        ("owner/model of https://hub.org/owner/model, 3/4 and/or ±1", None),
    ],
)
def test_no_sentence_shows_others_a_path_of_the_machine(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, sentence: str, seen: str | None
) -> None:
    sentence = sentence.format(home=settings.home)
    assert ui.said(sentence) == sentence
    monkeypatch.setenv("PMB_CONFINED", "1")
    assert ui.said(sentence) == (sentence if seen is None else seen)


@pytest.mark.slow
def test_a_page_that_others_reach_names_no_folder_of_the_machine(
    scored: Store, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content_streamlit: None
) -> None:
    monkeypatch.setenv("PMB_CONFINED", "1")
    (tmp_path / "model").mkdir()
    queue.submit(scored, [replace(spec(), model=str(tmp_path / "model"), task=f"csv:{settings.home}/uploads/x/a.csv")])
    claim = queue.claim(scored, "worker")
    assert claim
    queue.fail(scored, claim.key, "worker", f"{tmp_path}/model cannot be read.", f'File "{tmp_path}/a.py", line 1')
    for app in (
        opened(model=str(tmp_path / "model")),
        opened(model="/no/such/model"),
        opened(task=f"csv:{tmp_path}/x.csv"),
        opened("runs"),
        opened("runs", run=claim.key[:12]),
    ):
        seen = words(app) + "".join(str(table.value) for table in app.dataframe) + "".join(c.value for c in app.code)
        assert str(tmp_path) not in seen, seen
        assert "/no/such" not in seen
